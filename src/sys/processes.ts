import { readFileSync } from "node:fs";
import { P_PIDFD, PR_SET_CHILD_SUBREAPER, WEXITED, WNOHANG } from "./constants.ts";
import { ARCH, bind, check, failedWith, pinned } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

const pidfdOpenCall = bind("long syscall(long number, int pid, uint flags)");
const pidfdGetfdCall = bind("long syscall(long number, int pidfd, int fd, uint flags)");
const pidfdSendSignalCall = bind("long syscall(long number, int pidfd, int signal, void *info, uint flags)");
const prctlCall = bind("int prctl(int option, ulong second, ulong third, ulong fourth, ulong fifth)");
const waitidCall = bind("int waitid(int type, uint id, void *info, int options)");

/** pidfd_open(2). The pid must be held still by something else (being its parent), or be checked afterwards. */
export function pidfdOpen(pid: number): number {
  return check(pidfdOpenCall(syscallNumber("pidfd_open", ARCH), pid, 0), "pidfd_open", { subject: `pid ${pid}` });
}

/** pidfd_getfd(2): a copy, close-on-exec, of an fd of another process. @throws SysError: EBADF, it has none of that number; EPERM */
export function pidfdGetfd(pidfd: number, fd: number): number {
  const copy = pidfdGetfdCall(syscallNumber("pidfd_getfd", ARCH), pidfd, fd, 0);
  return check(copy, "pidfd_getfd", { subject: `fd ${fd}` });
}

/** pidfd_send_signal(2). False: the process is gone already. */
export function pidfdSendSignal(pidfd: number, signal: number): boolean {
  const result = pidfdSendSignalCall(syscallNumber("pidfd_send_signal", ARCH), pidfd, signal, null, 0);
  if (result < 0 && failedWith("ESRCH")) return false;
  check(result, "pidfd_send_signal", { subject: `signal ${signal}` });
  return true;
}

export interface ExitStatus {
  /** exited: `status` is the exit code; killed or dumped: the signal. */
  readonly reason: "exited" | "killed" | "dumped";
  readonly status: number;
}

const REASONS: Readonly<Record<number, ExitStatus["reason"]>> = { 1: "exited", 2: "killed", 3: "dumped" };

/** si_code and si_status of waitid(2); null: no end. */
export function exitStatus(code: number, status: number): ExitStatus | null {
  const reason = REASONS[code];
  return reason === undefined ? null : { reason, status };
}

/** waitid(2) on a child's pidfd without waiting: reaps it. Null: it still runs. */
export function reapPidfd(pidfd: number): ExitStatus | null {
  return reap(pidfd, (result) => check(result, "waitid", { subject: `pidfd ${pidfd}` }));
}

/** The same of what may have become our child, when its parent ended before it (becomeSubreaper). Null as well: it is not ours. */
export function reapOrphan(pidfd: number): ExitStatus | null {
  return reap(pidfd, (result) => {
    if (result >= 0 || !failedWith("ECHILD")) check(result, "waitid", { subject: `pidfd ${pidfd}` });
  });
}

/** prctl(2): what loses its parent below this process gets this process for one, instead of the host's PID 1. */
export function becomeSubreaper(on = true): void {
  check(prctlCall(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER");
}

/** Of the process that a pidfd stands for (proc_pid_fdinfo(5)). Null: it has been waited for. */
export function pidOf(pidfd: number): number | null {
  const pid = /^Pid:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, "utf8"))?.[1];
  return pid === undefined || pid === "0" ? null : Number(pid); // the kernel says -1, which to kill(2) means everybody
}

function reap(pidfd: number, checkResult: (result: number) => void): ExitStatus | null {
  const info = pinned(128); // siginfo_t: si_code at 8, si_pid at 16, si_status at 24
  checkResult(waitidCall(P_PIDFD, pidfd, info, WEXITED | WNOHANG));
  if (info.readInt32LE(16) === 0) return null;
  return exitStatus(info.readInt32LE(8), info.readInt32LE(24)) ?? { reason: "killed", status: info.readInt32LE(24) };
}
