import { watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { textOf } from "./cgroup-tree.ts";
import { justEnded } from "./known-machines.ts";
import type { MachineRecord } from "./record.ts";

/** Processes that wait for a disk or the network in the kernel freeze when they have what they waited for. */
const PATIENCE_MS = 5000;

/** Whether a machine's processes are stopped, by us or by whatever is above their cgroup (cgroup.events, cgroups v2). */
export function isFrozen({ cgroup }: Pick<MachineRecord, "cgroup">): boolean {
  return textOf(payload(cgroup), "cgroup.freeze").startsWith("1");
}

/**
 * Stops every process of a machine where it is, or lets them go on (cgroup.freeze). Resolves when that has happened.
 * @throws BerthError when some process does not stop in time: then all go on
 */
export async function freeze(machine: MachineRecord, frozen: boolean): Promise<void> {
  const directory = payload(machine.cgroup);
  write(machine, frozen);
  if (!frozen) return;
  const frozenNow = came(directory).catch((error: unknown) => {
    write(machine, false);
    throw error;
  });
  if (await frozenNow) return;
  write(machine, false);
  throw new BerthError(`machine ${machine.name} could not be frozen within ${PATIENCE_MS / 1000} s`, {
    kind: "Timeout",
    hint: `some process of it waits in the kernel and can't be stopped: see the states in ${directory}/cgroup.procs`,
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

/** The kernel says so in cgroup.events, and that the file has changed by inotify. */
async function came(directory: string): Promise<boolean> {
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
  try {
    return await Promise.race([changed, sleep(PATIENCE_MS, false, { signal: end.signal }).catch(() => false)]);
  } finally {
    end.abort();
  }
}

function payload(cgroup: string): string {
  return join(cgroup, "payload");
}
