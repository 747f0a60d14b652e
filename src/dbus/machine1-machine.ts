import { DBusError } from "../bus/dbus-error.ts";
import { type Interface, method, property } from "../bus/interface.ts";
import { readOsRelease } from "../image/inside.ts";
import { addressesOf, hasOwnNetwork } from "../machine/addresses.ts";
import { osReleaseOf } from "../machine/machine-tree.ts";
import { allowManaging, invalid, notSupported } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import { bindFile, copyFiles } from "./machine1-files.ts";
import { killOnBus } from "./machine1-kill.ts";
import { openLoginOn, openPty, openRootDirectory, openShellOn } from "./machine1-open.ts";
import { MACHINE1 } from "./places.ts";
import type { Services } from "./services.ts";
import { mapFromMachine } from "./user-maps.ts";

const [TERMINAL_ARGS, COPY_ARGS] = [
  ["pty", "pty_path"],
  ["source", "destination"],
] as const;

/** org.freedesktop.machine1.Machine, of one that is there now. Methods are in the order that machined has them. */
export function machineInterface(machine: BusMachine, services: Services): Interface {
  const open = { unprivileged: true } as const;
  return {
    name: `${MACHINE1}.Machine`,
    properties: {
      Name: property({ type: "s", emits: "const", read: () => machine.name }),
      Id: property({ type: "ay", emits: "const", read: () => machine.id }),
      Timestamp: property({ type: "t", emits: "const", read: () => machine.since }),
      TimestampMonotonic: property({ type: "t", emits: "const", read: () => machine.sinceMonotonic }),
      Service: property({ type: "s", emits: "const", read: () => machine.service }),
      Unit: property({ type: "s", emits: "const", read: () => machine.unit }),
      Leader: property({ type: "u", emits: "const", read: () => machine.leader }),
      Class: property({ type: "s", emits: "const", read: () => machine.class }),
      RootDirectory: property({ type: "s", emits: "const", read: () => machine.root }),
      NetworkInterfaces: property({ type: "ai", emits: "const", read: () => machine.links }),
      VSockCID: property({ type: "u", emits: "const", read: () => machine.contact.cid }),
      SSHAddress: property({ type: "s", emits: "const", read: () => machine.contact.sshAddress }),
      SSHPrivateKeyPath: property({ type: "s", emits: "const", read: () => machine.contact.sshKeyPath }),
      State: property({ type: "s", emits: "false", read: () => machine.state }),
    },
    methods: {
      Terminate: method({
        ...open,
        in: "",
        out: "",
        async handler(call) {
          await allowManaging(call, machine, "terminate");
          requireMachine(machine, "be terminated");
          if (machine.foreign) services.machines.registered.signal(machine.name, SIGKILL);
          else await services.manager.terminate(machine.name);
        },
      }),
      Kill: method({
        ...open,
        in: "si",
        out: "",
        inNames: ["whom", "signal"],
        async handler(call, who, signal) {
          await allowManaging(call, machine, "kill");
          await killOnBus(machine, who, signal, services);
        },
      }),
      GetAddresses: method({
        ...open,
        in: "",
        out: "a(iay)",
        outNames: ["addresses"],
        handler: () => addressRows(machine),
      }),
      GetSSHInfo: method({
        ...open,
        in: "",
        out: "ss",
        outNames: ["ssh_address", "ssh_private_key_path"],
        handler: (): [string, string] => {
          const { sshAddress, sshKeyPath } = machine.contact;
          if (sshAddress === "") throw new DBusError("FileNotFound", `Machine ${machine.name} has no SSH address.`);
          return [sshAddress, sshKeyPath];
        },
      }),
      GetOSRelease: method({
        ...open,
        in: "",
        out: "a{ss}",
        outNames: ["fields"],
        handler: () => osReleaseOn(machine, services),
      }),
      GetUIDShift: method({ ...open, in: "", out: "u", outNames: ["shift"], handler: () => uidShift(machine) }),
      OpenPTY: method({
        ...open,
        in: "",
        out: "hs",
        outNames: TERMINAL_ARGS,
        handler: (call) => openPty(call, machine, services),
      }),
      OpenLogin: method({
        ...open,
        in: "",
        out: "hs",
        outNames: TERMINAL_ARGS,
        handler: (call) => openLoginOn(call, machine, services),
      }),
      OpenShell: method({
        ...open,
        in: "ssasas",
        out: "hs",
        inNames: ["user", "path", "args", "environment"],
        outNames: TERMINAL_ARGS,
        handler: (call, user, path, args, environment) =>
          openShellOn(call, machine, { user, path, args, environment }, services),
      }),
      BindMount: method({
        ...open,
        in: "ssbb",
        out: "",
        inNames: [...COPY_ARGS, "read_only", "mkdir"],
        handler: (call, source, target, readOnly, mkdir) =>
          bindFile(call, machine, { source, target, readOnly, mkdir }, services),
      }),
      CopyFrom: method({
        ...open,
        in: "ss",
        out: "",
        inNames: COPY_ARGS,
        handler: (call, from, to) => copyFiles(call, machine, "from", { from, to, flags: 0n }, services),
      }),
      CopyTo: method({
        ...open,
        in: "ss",
        out: "",
        inNames: COPY_ARGS,
        handler: (call, from, to) => copyFiles(call, machine, "to", { from, to, flags: 0n }, services),
      }),
      CopyFromWithFlags: method({
        ...open,
        in: "sst",
        out: "",
        inNames: [...COPY_ARGS, "flags"],
        handler: (call, from, to, flags) => copyFiles(call, machine, "from", { from, to, flags }, services),
      }),
      CopyToWithFlags: method({
        ...open,
        in: "sst",
        out: "",
        inNames: [...COPY_ARGS, "flags"],
        handler: (call, from, to, flags) => copyFiles(call, machine, "to", { from, to, flags }, services),
      }),
      OpenRootDirectory: method({
        ...open,
        in: "",
        out: "h",
        outNames: ["fd"],
        async handler(call) {
          await allowManaging(call, machine, "open_root_directory");
          return openRootDirectory(machine);
        },
      }),
    },
  };
}

const SIGKILL = 9;

function requireMachine({ name, class: what }: BusMachine, wish: string): void {
  if (what === "host") throw notSupported(`The host can't ${wish} as the machine ${name}.`);
}

function addressRows({ name, class: what, leader }: BusMachine): [number, Buffer][] {
  if (what !== "host" && leader !== 0 && !hasOwnNetwork(leader))
    throw new DBusError(`${MACHINE1}.NoPrivateNetworking`, `Machine ${name} does not use private networking`);
  return leader === 0 ? [] : addressesOf(leader).map(({ family, bytes }) => [family, bytes]);
}

function osReleaseOn(machine: BusMachine, { paths }: Services): Readonly<Record<string, string>> {
  const { name, class: what, record, foreign, leader } = machine;
  if (what === "host") return readOsRelease("/");
  if (foreign) return readOsRelease(`/proc/${leader}/root`);
  const fields = record === null ? undefined : osReleaseOf(record, paths);
  if (fields !== undefined) return fields;
  throw new DBusError("Failed", `Machine ${name} does not contain OS release information`);
}

function uidShift(machine: BusMachine): number {
  const { name, class: what, record, foreign } = machine;
  if (what === "host") return 0;
  if (foreign) return mapFromMachine("User", machine, 0);
  if (record === null) throw invalid(`Nothing is known of the users of machine ${name}.`);
  return record.uidShift ?? 0;
}
