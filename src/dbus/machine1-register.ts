import { DBusError } from "../bus/dbus-error.ts";
import { type Interface, method } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { allowManaging, notSupported } from "./access.ts";
import { MACHINE1, machinePath } from "./places.ts";
import type { Registration } from "./registered.ts";
import { registrationOf } from "./registration-properties.ts";
import type { Services } from "./services.ts";

const ARGS = ["name", "id", "service", "class", "leader", "root_directory"] as const;
const PATH = ["path"] as const;

/**
 * What systemd-nspawn and the like tell of machines of their own. berth has no scopes to give them (CreateMachine): those
 * are known as they are, and their processes stay in the cgroups where they were.
 */
export function registration({ machines }: Services): NonNullable<Interface["methods"]> {
  const { registered } = machines;
  const register = async (call: MethodCall, given: Registration): Promise<string> => {
    const { name } = given;
    const isCaller = given.leader === 0 && given.pidfd === undefined;
    const leader = isCaller ? ((await call.credentials()).pid ?? 0) : given.leader;
    registered.check(given);
    if (machines.find(name) !== undefined)
      throw new DBusError(`${MACHINE1}.MachineExists`, `Machine '${name}' already exists`);
    registered.add({ ...given, leader });
    return machinePath(name);
  };
  return {
    CreateMachine: method({
      in: "sayssusa(sv)",
      out: "o",
      inNames: [...ARGS, "scope_properties"],
      outNames: PATH,
      handler: (call, name, id, service, what, leader, root) =>
        register(call, { name, id, service, class: what, leader, root, links: [] }),
    }),
    CreateMachineWithNetwork: method({
      in: "sayssusaia(sv)",
      out: "o",
      inNames: [...ARGS, "ifindices", "scope_properties"],
      outNames: PATH,
      handler: (call, name, id, service, what, leader, root, links) =>
        register(call, { name, id, service, class: what, leader, root, links }),
    }),
    RegisterMachine: method({
      in: "sayssus",
      out: "o",
      inNames: ARGS,
      outNames: PATH,
      handler: (call, name, id, service, what, leader, root) =>
        register(call, { name, id, service, class: what, leader, root, links: [] }),
    }),
    RegisterMachineWithNetwork: method({
      in: "sayssusai",
      out: "o",
      inNames: [...ARGS, "ifindices"],
      outNames: PATH,
      handler: (call, name, id, service, what, leader, root, links) =>
        register(call, { name, id, service, class: what, leader, root, links }),
    }),
    CreateMachineEx: method({
      in: "sa(sv)a(sv)",
      out: "o",
      inNames: ["name", "properties", "scope_properties"],
      outNames: PATH,
      handler: (call, name, properties) => register(call, registrationOf(name, properties)),
    }),
    RegisterMachineEx: method({
      in: "sa(sv)",
      out: "o",
      inNames: ["name", "properties"],
      outNames: PATH,
      handler: (call, name, properties) => register(call, registrationOf(name, properties)),
    }),
    UnregisterMachine: method({
      unprivileged: true,
      in: "s",
      out: "",
      inNames: ["name"],
      async handler(call, name) {
        const machine = machines.get(name);
        await allowManaging(call, machine, "unregister");
        if (machine.class === "host") throw notSupported("The host is known as long as it is up.");
        if (!machine.foreign) throw notSupported(`Machine ${name} is berth's own, which knows it as long as it runs.`);
        registered.remove(name);
      },
    }),
  };
}
