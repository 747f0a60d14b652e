import { closeSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { lockWithPid } from "../exec/lock-file.ts";
import { isAlive } from "../host/process-id.ts";
import { closeQuietly } from "../sys/files.ts";
import { pidfdGetfd, pidfdOpen } from "../sys/processes.ts";
import { isPtyMaster } from "../sys/terminal.ts";
import type { MachineRecord } from "./record.ts";

/**
 * The master of a running machine's console, of which its keeper has one: a copy, to be closed. Null: there is none.
 * @throws BerthError when the kernel does not give it away
 */
export function consoleMaster({ name, keeper }: MachineRecord): number | null {
  const pidfd = pidfdOpen(keeper.pid);
  try {
    // Only now is the pid held still.
    if (!isAlive(keeper)) return null;
    return masterOf(keeper.pid, pidfd);
  } catch (error) {
    if (errorCode(error) !== "EPERM") throw error;
    throw new BerthError(`the console of machine ${name} can't be typed on: ${(error as Error).message}`, {
      kind: "NotSupported",
      hint: "kernel.yama.ptrace_scope=3 forbids it; --read-only shows it",
    });
  } finally {
    closeQuietly(pidfd);
  }
}

/** The keeper's fds have numbers that depend on its locks: which one it is, is looked at. */
function masterOf(pid: number, pidfd: number): number | null {
  const links = `/proc/${pid}/fd`;
  for (const number of readdirSync(links)) {
    if (!/ptmx$/.test(readlinkSync(join(links, number)))) continue;
    const fd = pidfdGetfd(pidfd, Number(number));
    if (isPtyMaster(fd)) return fd;
    closeQuietly(fd);
  }
  return null;
}

/** Who types on a console, for as long as it is not closed. */
export interface ConsoleWriter {
  close(): void;
}

/** Takes the right to type on a console, which one at a time has. A number: the pid of who has it. */
export function takeConsole(recordDirectory: string): ConsoleWriter | number {
  const path = join(recordDirectory, "console.lock");
  const lock = lockWithPid(path);
  if (lock === null) return Number(readFileSync(path, "utf8"));
  return { close: () => closeSync(lock) };
}
