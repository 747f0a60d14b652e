import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * Lets the children of a cgroup have every controller it has itself. One that can't be handed on (a parent with
 * processes of its own, a real-time group) stays here, ignoring: a limit that needs it is refused where it is set.
 */
export function enableControllers(path: string): void {
  for (const controller of readFileSync(join(path, "cgroup.controllers"), "utf8").split(/\s+/)) {
    if (controller === "") continue;
    try {
      writeFileSync(join(path, "cgroup.subtree_control"), `+${controller}`);
    } catch {
      // see above
    }
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
  const deadline = Date.now() + 2000;
  for (;;) {
    try {
      removeTree(path);
      return;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || Date.now() > deadline) throw error;
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

function removeTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  rmdirSync(path);
}
