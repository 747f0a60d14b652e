import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DBusError } from "../bus/dbus-error.ts";
import { type Interface, method, property, signal } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { escapeElement, unescapeElement } from "../bus/names.ts";
import type { ObjectServer } from "../bus/object-server.ts";
import { authorise } from "../bus/polkit.ts";
import { BerthError } from "../errors.ts";
import { findTree, treeOf } from "../host/tree-place.ts";
import { processesOf } from "../machine/processes.ts";
import { treeName } from "../machine/throw-away.ts";
import { disableMachine, enableMachine } from "../manager/enabled.ts";
import { checkName } from "../spec/name.ts";
import { notSupported } from "./access.ts";
import { type Machines, NO_MACHINE } from "./machines.ts";
import { SYSTEMD1, SYSTEMD1_PATH } from "./places.ts";
import type { Services } from "./services.ts";

/** systemd's own limit for a unit to start. */
const START_MS = 90_000;
/** Units that stand for machines. Other ones machinectl(1) wants to be there, which berth has no need of. */
const MACHINE_UNIT = /^(?:systemd-nspawn|berth)@(.+)\.service$/;
const OTHER_UNITS = ["machines.target"];

/**
 * Of org.freedesktop.systemd1 what machinectl(1) asks for to start, enable and show machines, where no systemd runs. Units are
 * named after machines; jobs are their starts and stops.
 */
export function exportSystemd1(server: ObjectServer, services: Services): void {
  const jobs: Jobs = new Jobs((...job) => server.emit(SYSTEMD1_PATH, manager, "JobRemoved", job), services);
  const manager = systemd1Manager(services, jobs);
  server.export(SYSTEMD1_PATH, [manager]);
  server.addSubtree(`${SYSTEMD1_PATH}/unit`, {
    find(element) {
      const unit = unescapeElement(element);
      return unit === undefined || !MACHINE_UNIT.test(unit) ? undefined : unitInterfaces(unit, services);
    },
    list: () => services.machines.list().flatMap(({ record, unit }) => (record === null ? [] : [escapeElement(unit)])),
  });
}

/** For the bus's policy. */
export function systemd1Interfaces(services: Services): readonly Interface[] {
  return [systemd1Manager(services, new Jobs(() => undefined, services))];
}

function systemd1Manager(services: Services, jobs: Jobs): Interface {
  const { paths, machines } = services;
  const open = { unprivileged: true } as const;
  const unitJob = (verb: "start" | "stop") =>
    method({
      ...open,
      in: "ss",
      out: "o",
      inNames: ["name", "mode"],
      outNames: ["job"],
      async handler(call, unit) {
        await allowUnits(call, "manage-units", { unit, verb });
        const name = machineOf(unit);
        // A start says itself what is missing.
        if (verb === "stop") requireKnown(unit, services);
        return jobs[verb](unit, name);
      },
    });
  return {
    name: `${SYSTEMD1}.Manager`,
    methods: {
      GetUnit: method({
        ...open,
        in: "s",
        out: "o",
        inNames: ["name"],
        outNames: ["unit"],
        handler: (_, unit) => unitPath(requireRunning(unit, services)),
      }),
      LoadUnit: method({
        ...open,
        in: "s",
        out: "o",
        inNames: ["name"],
        outNames: ["unit"],
        handler: (_, unit) => {
          machineOf(unit);
          return unitPath(unit);
        },
      }),
      GetUnitByPID: method({
        ...open,
        in: "u",
        out: "o",
        inNames: ["pid"],
        outNames: ["unit"],
        handler: (_, pid) => unitPath(unitOf(pid, machines)),
      }),
      StartUnit: unitJob("start"),
      StopUnit: unitJob("stop"),
      GetUnitProcesses: method({
        ...open,
        in: "s",
        out: "a(sus)",
        inNames: ["name"],
        outNames: ["processes"],
        handler: (_, unit) => unitProcesses(unit, services),
      }),
      EnableUnitFiles: method({
        ...open,
        in: "asbb",
        out: "ba(sss)",
        inNames: ["files", "runtime", "force"],
        outNames: ["carries_install_info", "changes"],
        async handler(call, units, runtime): Promise<[boolean, FileChange[]]> {
          await allowUnits(call, "manage-unit-files", { verb: "enable" });
          if (runtime) throw notSupported("berth enables machines for good, and not until the host's next boot.");
          return [true, await changes(units, "symlink", (name) => enableMachine(name, paths), services)];
        },
      }),
      DisableUnitFiles: method({
        ...open,
        in: "asb",
        out: "a(sss)",
        inNames: ["files", "runtime"],
        outNames: ["changes"],
        async handler(call, units): Promise<FileChange[]> {
          await allowUnits(call, "manage-unit-files", { verb: "disable" });
          return await changes(units, "unlink", (name) => disableMachine(name, paths), services);
        },
      }),
      Reload: method({
        ...open,
        in: "",
        out: "",
        // Settings are read at every start.
        handler: () => undefined,
      }),
      Subscribe: method({ ...open, in: "", out: "", handler: () => undefined }),
      Unsubscribe: method({ ...open, in: "", out: "", handler: () => undefined }),
    },
    signals: {
      JobRemoved: signal("uoss", ["id", "job", "unit", "result"]),
    },
  };
}

type FileChange = [type: string, file: string, destination: string];

async function changes(
  units: readonly string[],
  type: "symlink" | "unlink",
  change: (name: string) => Promise<boolean>,
  { paths }: Services,
): Promise<FileChange[]> {
  const names = units.filter((unit) => !OTHER_UNITS.includes(unit)).map(machineOf);
  const changed: FileChange[] = [];
  for (const name of names) {
    if (!(await change(name))) continue;
    const link = join(paths.etc, "enabled", name);
    changed.push([type, link, type === "symlink" ? treeOf(paths.machines, name) : ""]);
  }
  return changed;
}

function allowUnits(call: MethodCall, action: string, details: Readonly<Record<string, string>>): Promise<void> {
  return authorise(call, `${SYSTEMD1}.${action}`, details);
}

/** The unit's machine. @throws DBusError NoSuchUnit for those that stand for none */
function machineOf(unit: string): string {
  const name = MACHINE_UNIT.exec(unit)?.[1];
  if (name !== undefined && checkName(name) === undefined) return name;
  throw new DBusError(`${SYSTEMD1}.NoSuchUnit`, `Unit ${unit} not found: berth has units of its machines only.`);
}

function requireRunning(unit: string, { machines }: Services): string {
  if (machines.find(machineOf(unit)) !== undefined) return unit;
  throw new DBusError(`${SYSTEMD1}.NoSuchUnit`, `Unit ${unit} not loaded.`);
}

/** It runs, has failed, or could be started. */
function requireKnown(unit: string, { machines, manager, paths }: Services): void {
  const name = machineOf(unit);
  if (machines.find(name) !== undefined || findTree(paths.machines, treeName(name, paths)) !== null) return;
  if (manager.list().some((view) => view.name === name)) return;
  throw new DBusError(`${SYSTEMD1}.NoSuchUnit`, `Unit ${unit} not loaded.`);
}

function unitOf(pid: number, machines: Machines): string {
  try {
    const { unit } = machines.byPid(pid);
    if (unit !== "") return unit;
  } catch (error) {
    if (!(error instanceof DBusError) || error.errorName !== NO_MACHINE) throw error;
  }
  throw new DBusError(`${SYSTEMD1}.NoUnitForPID`, `PID ${pid} does not belong to any loaded unit.`);
}

function unitPath(unit: string): string {
  return `${SYSTEMD1_PATH}/unit/${escapeElement(unit)}`;
}

function unitInterfaces(unit: string, services: Services): readonly Interface[] {
  const name = machineOf(unit);
  const machine = services.machines.find(name);
  const state = machine === undefined ? "inactive" : machine.state === "opening" ? "activating" : "active";
  return [
    {
      name: `${SYSTEMD1}.Unit`,
      properties: {
        Id: property({ type: "s", emits: "const", read: () => unit }),
        Description: property({ type: "s", emits: "const", read: () => `Machine ${name}` }),
        LoadState: property({ type: "s", emits: "const", read: () => "loaded" }),
        ActiveState: property({ type: "s", emits: "false", read: () => state }),
      },
    },
    {
      name: `${SYSTEMD1}.Service`,
      properties: {
        ControlGroup: property({ type: "s", emits: "false", read: () => controlGroup(name, services) }),
        MainPID: property({ type: "u", emits: "false", read: () => machine?.leader ?? 0 }),
        Result: property({
          type: "s",
          emits: "false",
          read: () => (isFailed(name, services) ? "exit-code" : "success"),
        }),
      },
    },
  ];
}

function isFailed(name: string, { manager }: Services): boolean {
  return manager.list().some((view) => view.name === name && view.state === "failed");
}

/** Empty: it does not run. */
function controlGroup(name: string, { machines }: Services): string {
  const record = machines.find(name)?.record;
  return record ? record.cgroup.slice(record.cgroupMount.length) : "";
}

function unitProcesses(unit: string, services: Services): [string, number, string][] {
  const record = services.machines.find(machineOf(unit))?.record;
  if (!record) return [];
  return processesOf(record).map(({ cgroup, pid }) => [cgroup, pid, commandOf(pid)]);
}

/** Empty for a process of the kernel, and one that has just gone. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

type OnRemoved = (id: number, path: string, unit: string, result: "done" | "failed") => void;

/** Starts and stops that somebody was told the number of. */
class Jobs {
  readonly #onRemoved: OnRemoved;
  readonly #services: Services;
  #last = 0;

  constructor(onRemoved: OnRemoved, services: Services) {
    this.#onRemoved = onRemoved;
    this.#services = services;
  }

  start(unit: string, name: string): string {
    const { manager, log } = this.#services;
    const caller = { signal: new AbortController().signal, timeout: START_MS, say: log, onStatus: () => undefined };
    return this.#run(unit, async () => {
      try {
        await manager.start(name, caller);
      } catch (error) {
        // That is what was wanted.
        if (!(error instanceof BerthError && error.kind === "MachineExists")) throw error;
      }
    });
  }

  stop(unit: string, name: string): string {
    return this.#run(unit, () => this.#services.manager.powerOff(name, true, START_MS));
  }

  /** Whoever asked hears of its end after the answer that has its number. */
  #run(unit: string, work: () => Promise<void>): string {
    const id = ++this.#last;
    const path = `${SYSTEMD1_PATH}/job/${id}`;
    setImmediate(() => {
      work().then(
        () => this.#onRemoved(id, path, unit, "done"),
        (error: Error) => {
          this.#services.log(`${unit}: ${error.message}`);
          this.#onRemoved(id, path, unit, "failed");
        },
      );
    });
    return path;
  }
}
