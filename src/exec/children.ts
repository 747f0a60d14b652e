import { readdirSync, readFileSync } from "node:fs";
import { parseMemberships } from "../host/cgroups.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal, reapOrphan } from "../sys/processes.ts";

const SIGKILL = 9;

/** A machine that is entered: its leader, the cgroup that its leader is in, and the command if we have heard of it, else -1. */
interface Entered {
  readonly pid: number;
  readonly cgroup: string;
  readonly command: number;
}

/** All that a child of ours has cloned, also what it has not been able to tell us of. */
export function killChildren(parent: number): void {
  for (const pidfd of killed(() => childrenOf(parent))) closeQuietly(pidfd);
}

/**
 * What a keeper that was killed has left: the porter, or the command before we heard of it. Both have come to us
 * (becomeSubreaper). So may have the machine's own init, and others' commands, which run on without a keeper: they have been executed.
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

function orphansOf({ pid, cgroup, command }: Entered): readonly number[] {
  return childrenOf(process.pid).filter((child) => child !== pid && (child === command || isOnItsWay(child, cgroup)));
}

/** By the stage's name, which it has until it is executed, also as a zombie. */
function isOnItsWay(pid: number, cgroup: string): boolean {
  try {
    if (readFileSync(`/proc/${pid}/comm`, "utf8") !== "berth-exec\n") return false;
    const own = parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
    const path = own.find(({ hierarchy }) => hierarchy === 0)?.path ?? "/";
    return path !== "/" && cgroup.endsWith(path);
  } catch {
    return false; // it has ended
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
