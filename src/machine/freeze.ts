import { watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { isAlive } from "../host/process-id.ts";
import { textOf } from "./cgroup-tree.ts";
import { justEnded } from "./known-machines.ts";
import type { MachineRecord } from "./record.ts";

/** Processes that wait for a disk or the network in the kernel freeze when they have what they waited for. */
const PATIENCE_MS = 5000;
/** Between two looks whether it is still there: of a cgroup that has been removed nothing is told any more. */
const LOOK_MS = 100;

/** Whether a machine's processes are stopped, by us or by whatever is above their cgroup (cgroup.events, cgroups v2). */
export function isFrozen({ cgroup }: Pick<MachineRecord, "cgroup">): boolean {
  return textOf(payload(cgroup), "cgroup.freeze").startsWith("1");
}

/**
 * Stops every process of a machine where it is, or lets them go on (cgroup.freeze). Resolves when that has happened.
 * @throws BerthError when some process does not stop in time: then all go on; of kind NoSuchMachine when it ends meanwhile, and
 *   Busy when somebody else lets it go on
 */
export async function freeze(machine: MachineRecord, frozen: boolean, patienceMs = PATIENCE_MS): Promise<void> {
  const directory = payload(machine.cgroup);
  write(machine, frozen);
  if (!frozen) return;
  const isOver = (): boolean => !isAlive(machine.leader) || wasLetGo(machine);
  const frozenNow = came(directory, isOver, patienceMs).catch((error: unknown) => {
    write(machine, false);
    throw error;
  });
  if (await frozenNow) return;
  const isLetGo = wasLetGo(machine);
  // Another boot may have its cgroup by now.
  write(machine, false);
  if (!isAlive(machine.leader)) throw justEnded(machine.name);
  if (isLetGo) throw letGo(machine);
  throw new BerthError(`machine ${machine.name} could not be frozen within ${patienceMs / 1000} s`, {
    kind: "Timeout",
    hint: `some process of it waits in the kernel and can't be stopped: see the states in ${directory}/cgroup.procs`,
  });
}

/** By whoever does not ask berth. False as well where that can't be told. */
export function wasLetGo({ cgroup }: Pick<MachineRecord, "cgroup">): boolean {
  return textOf(payload(cgroup), "cgroup.freeze").startsWith("0");
}

export function letGo({ name }: MachineRecord): BerthError {
  return new BerthError(`somebody else let machine ${name} go on while it was to be still`, {
    kind: "Busy",
    hint: "try again",
  });
}

function write({ name, cgroup }: MachineRecord, frozen: boolean): void {
  try {
    writeFileSync(join(payload(cgroup), "cgroup.freeze"), frozen ? "1" : "0");
  } catch (error) {
    const code = errorCode(error);
    throw code === "ENOENT" || code === "ENODEV" ? justEnded(name) : error;
  }
}

/** The kernel says so in cgroup.events, and that the file has changed by inotify. False: not in time, or it `isOver`. */
async function came(directory: string, isOver: () => boolean, patienceMs: number): Promise<boolean> {
  const events = join(directory, "cgroup.events");
  const is = (): boolean => /^frozen 1$/m.test(textOf(directory, "cgroup.events"));
  if (is()) return true;
  const end = new AbortController();
  const changed = new Promise<boolean>((resolve) => {
    const watcher = watch(events, { signal: end.signal }, () => {
      if (is()) resolve(true);
    });
    watcher.on("error", () => resolve(is()));
    if (is()) resolve(true);
  });
  const over = new Promise<boolean>((resolve) => {
    const timer = setInterval(() => isOver() && resolve(false), LOOK_MS);
    end.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  });
  const patience = sleep(patienceMs, false, { signal: end.signal }).catch(() => false);
  try {
    return await Promise.race([changed, over, patience]);
  } finally {
    end.abort();
  }
}

function payload(cgroup: string): string {
  return join(cgroup, "payload");
}
