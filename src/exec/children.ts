import { readdirSync, readFileSync } from "node:fs";
import { parseMemberships } from "../host/cgroups.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal, reapOrphan } from "../sys/processes.ts";

const SIGKILL = 9;

/** A machine that is entered: its leader, and the cgroup that its leader is in. */
interface Entered {
  readonly pid: number;
  readonly cgroup: string;
}

/** All that a child of ours has cloned, also what it has not been able to tell us of. */
export function killChildren(parent: number): void {
  for (const pidfd of killed(() => childrenOf(parent))) closeQuietly(pidfd);
}

/**
 * What a keeper that was killed has left: the porter, or the command before we heard of it. Both have come to us
 * (becomeSubreaper). The machine's own init may have come, too, and commands whose keepers were killed before.
 */
export function killOrphans(entered: Entered | undefined): void {
  if (entered === undefined) return;
  for (const pidfd of killed(() => orphansOf(entered))) closeQuietly(pidfd);
}

/** The same, and waits for them: one that is not reaped holds up the end of its pid namespace, and so of the machine. */
export async function reapOrphans(entered: Entered | undefined): Promise<void> {
  if (entered === undefined) return;
  for (const pidfd of killed(() => orphansOf(entered))) {
    await whenReadable(pidfd);
    reapOrphan(pidfd);
    closeQuietly(pidfd);
  }
}

/** pidfds of those that were killed. */
function killed(list: () => readonly number[]): readonly number[] {
  return list().flatMap((child) => {
    try {
      const pidfd = pidfdOpen(child);
      // Its pid may have become another process's before the pidfd was taken.
      if (list().includes(child)) {
        pidfdSendSignal(pidfd, SIGKILL);
        return [pidfd];
      }
      closeQuietly(pidfd);
    } catch (error) {
      if (!(error instanceof SysError && error.code === "ESRCH")) throw error;
    }
    return [];
  });
}

function orphansOf({ pid, cgroup }: Entered): readonly number[] {
  return childrenOf(process.pid).filter((child) => {
    if (child === pid) return false;
    const path = cgroupOf(child);
    return path !== undefined && path !== "/" && cgroup.endsWith(path);
  });
}

function cgroupOf(pid: number): string | undefined {
  try {
    const own = parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
    return own.find(({ hierarchy }) => hierarchy === 0)?.path;
  } catch {
    return undefined; // it has ended
  }
}

/** proc_tid_children(5) of each thread, exact for a process that waits. Empty on a kernel without CONFIG_PROC_CHILDREN. */
function childrenOf(pid: number): readonly number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const lists = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8"));
    return lists.join(" ").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
