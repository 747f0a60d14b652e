import type { Interface } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { escapeElement, unescapeElement } from "../bus/names.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { BerthError } from "../errors.ts";
import { imageInterface } from "./machine1-images.ts";
import { machineInterface } from "./machine1-machine.ts";
import { managerInterface } from "./machine1-manager.ts";
import { MACHINE1_PATH, machinePath } from "./places.ts";
import type { Services } from "./services.ts";

/** All of org.freedesktop.machine1, and its signals. */
export function exportMachine1(server: ObjectServer, services: Services): void {
  const { machines, store } = services;
  const manager = managerInterface(services);
  server.export(MACHINE1_PATH, [manager]);
  server.addSubtree(`${MACHINE1_PATH}/machine`, {
    find(element, call) {
      if (element === "self") return callers(call);
      const found = named(element);
      return found && [{ ...machineInterface(found, services), isCurrent: () => machines.isCurrent(found) }];
    },
    list: () => machines.names().map(escapeElement),
  });
  server.addSubtree(`${MACHINE1_PATH}/image`, {
    find(element) {
      const name = unescapeElement(element);
      const image = name === undefined ? undefined : imageOrNone(name);
      return image && [imageInterface(image, services)];
    },
    list: () => store.list().map(({ name }) => escapeElement(name)),
  });
  machines.watch({
    onNew: (name) => server.emit(MACHINE1_PATH, manager, "MachineNew", [name, machinePath(name)]),
    onRemoved: (name) => server.emit(MACHINE1_PATH, manager, "MachineRemoved", [name, machinePath(name)]),
  });

  async function callers(call: MethodCall): Promise<readonly Interface[]> {
    const { pid = 0 } = await call.credentials();
    return [machineInterface(machines.byPid(pid), services)];
  }

  function imageOrNone(name: string): ReturnType<typeof store.get> | undefined {
    try {
      return store.get(name);
    } catch (error) {
      if (error instanceof BerthError) return undefined;
      throw error;
    }
  }

  function named(element: string): ReturnType<typeof machines.find> {
    const name = unescapeElement(element);
    return name === undefined ? undefined : machines.find(name);
  }
}
