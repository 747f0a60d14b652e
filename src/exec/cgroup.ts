import {
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { words } from "../host/host-files.ts";
import { monotonic } from "../sys/clock.ts";

/** Levels of cgroups that a machine may make below its own: more than nested managers need, and soon taken apart. */
const MAX_DEPTH = 64;
/** How many of them: each has kernel memory that no limit of the machine's counts, and is to be taken away again. */
const MAX_DESCENDANTS = 4096;
/** ms of a turn of the event loop. */
const TURN_MS = 5;

/** supervisor/ for the keeper, payload/ for the machine. */
export function divideCgroup(path: string): void {
  for (const part of ["supervisor", "payload"]) mkdirSync(`${path}/${part}`, { recursive: true });
}

/** Makes it the machine's, so that its init may divide it further. */
export function delegateCgroup(payload: string, owner: number): void {
  writeFileSync(`${payload}/cgroup.max.depth`, String(MAX_DEPTH));
  writeFileSync(`${payload}/cgroup.max.descendants`, String(MAX_DESCENDANTS));
  // The files that cgroup_subtree_control(7) and the kernel's delegation rules name, and no others (limits stay ours).
  if (owner !== 0)
    for (const file of ["", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"])
      chownSync(`${payload}${file}`, owner, owner);
}

/** All of one cgroup into another. What forks meanwhile is found the next time round. */
export function moveProcesses(from: string, to: string): void {
  for (let round = 0; round < 100; round++) {
    const pids = words(readFileSync(join(from, "cgroup.procs"), "utf8"));
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        writeFileSync(join(to, "cgroup.procs"), pid);
      } catch (error) {
        if (errorCode(error) !== "ESRCH") throw error; // it has ended
      }
    }
  }
  throw new BerthError(`there are always new processes in ${from}`);
}

/**
 * Lets the children of a cgroup have every controller it has itself. One that can't be handed on (a parent with
 * processes of its own, a real-time group) stays here, ignoring: a limit that needs it is refused where it is set.
 * Cheap as long as there is no process below; else each write waits for an RCU grace period, 8 ms in the median.
 * `fresh`: they have none so far.
 */
export function enableControllers(path: string, fresh = false): void {
  const handedOn = fresh ? [] : controllersIn(path, "cgroup.subtree_control");
  const wanted = controllersIn(path, "cgroup.controllers").filter((controller) => !handedOn.includes(controller));
  // All or nothing, so one that can't be handed on would hold up the others.
  if (wanted.length > 0 && !handOn(path, wanted)) for (const controller of wanted) handOn(path, [controller]);
}

function controllersIn(path: string, file: string): readonly string[] {
  return words(readFileSync(`${path}/${file}`, "utf8"));
}

function handOn(path: string, controllers: readonly string[]): boolean {
  try {
    writeFileSync(`${path}/cgroup.subtree_control`, controllers.map((controller) => `+${controller}`).join(" "));
    return true;
  } catch {
    return false;
  }
}

/** Whether the kernel has killed something in a cgroup or below it for lack of memory (memory.events, cgroup v2). */
export function ranOutOfMemory(path: string): boolean {
  try {
    return /^oom_kill [1-9]/m.test(readFileSync(join(path, "memory.events"), "utf8"));
  } catch {
    return false; // no memory controller here, or the cgroup went with its last process
  }
}

/** Whether there is a process in a cgroup or below it (cgroup.events, cgroup v2). There is none in one that goes meanwhile. */
export function isPopulated(path: string): boolean {
  try {
    return /^populated 1/m.test(readFileSync(join(path, "cgroup.events"), "utf8"));
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENODEV") return false;
    throw error;
  }
}

/** Kills every process of a cgroup and what is below it, at once and without a race (cgroup.kill, kernel 5.14). */
export function killCgroup(path: string): void {
  try {
    writeFileSync(join(path, "cgroup.kill"), "1");
  } catch {
    // Gone already, or a threaded cgroup that has no such file and no processes of its own.
  }
}

/**
 * Removes a cgroup and all below it; processes that are still there are killed. Exit is asynchronous in the kernel:
 * a cgroup stays busy until the last process is reaped, so this waits up to two seconds for it.
 */
export function removeCgroup(path: string): void {
  untilEmpty(path, () => {
    for (const _ of removing(path));
  });
}

/**
 * The same for what is in a cgroup of systemd's, which removes that itself when it has seen that nothing is in it any more. One that has gone
 * before it looked tells it nothing, and the unit stays.
 */
export function clearCgroup(path: string): void {
  untilEmpty(path, () => {
    for (const _ of removingBelow(path));
    if (isPopulated(path)) throw Object.assign(new Error(`${path}: there are processes in it`), { code: "EBUSY" });
  });
}

function untilEmpty(path: string, empty: () => void): void {
  const deadline = monotonic() + 2000;
  for (;;) {
    try {
      empty();
      return;
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" && !existsSync(path)) return;
      if ((code !== "EBUSY" && code !== "ENOENT") || monotonic() > deadline) throw error;
      killCgroup(path);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** The same, and the cgroup above it, which the machines of one berth root share, with the last of them. */
export function removeSharedCgroup(path: string): void {
  removeCgroup(path);
  try {
    rmdirSync(dirname(path));
  } catch {
    // another machine is in it
  }
}

/** What a machine that has ended left in its cgroup, a bit at a time; what can't be removed is for `removeCgroup`. */
export async function emptyCgroup(path: string): Promise<void> {
  try {
    let began = monotonic();
    for (const _ of removing(path)) {
      if (monotonic() - began < TURN_MS) continue;
      await nextTurn();
      began = monotonic();
    }
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
  }
}

/**
 * Removes a cgroup and all below it, one a step. Each level through the fd of the one above: however deep a machine has
 * nested them, no path gets longer than that.
 */
function* removing(path: string): Generator<void> {
  yield* removingBelow(path);
  rmdirSync(path);
  yield;
}

function* removingBelow(path: string): Generator<void> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const here = `/proc/self/fd/${fd}`;
    for (const entry of readdirSync(here, { withFileTypes: true }))
      if (entry.isDirectory()) yield* removing(`${here}/${entry.name}`);
  } finally {
    closeSync(fd);
  }
}
