import type { InitName } from "../plan/init-requests.ts";
import { ARCH } from "../sys/libc.ts";
import { readHead } from "../sys/read-head.ts";

/** A machine can have any number of processes: of PID 1's children so many are looked at. */
const CHILDREN_MAX = 512;
/** Of their pids, each of seven digits at most (PID_MAX_LIMIT) and a space. */
const CHILDREN_BYTES = CHILDREN_MAX * 8;
/** A process may say that its command line is any length, gigabytes too (PR_SET_MM). */
const COMMAND_LINE_BYTES = 4096;
const OPENAT = { x64: "257", arm64: "56" }[ARCH];

/** How often it is looked. */
export const LOOK_MS = 100;

type Rule = (pid: number) => boolean;

/**
 * Of the inits that do not say when they are ready, those of which it shows from outside: each runs its boot scripts as
 * children that it waits for.
 */
const BOOTED: Partial<Readonly<Record<InitName, Rule>>> = {
  // It calls itself "init boot", and "init [2]" in runlevel 2, whose scripts are run by rc or openrc.
  sysvinit: (pid) =>
    commandLine(pid).startsWith("init [") &&
    !children(pid).some((line) => /^init |^\S*\/openrc |\/etc\/init\.d\/rcS? /.test(line)),
  // It then opens its fifo, which waits for somebody who has something to say.
  openrc: (pid) => systemCall(pid) === OPENAT && children(pid).every((line) => !/^(\S*\/)?openrc /.test(line)),
  // Only in stage 2 does it heed signals.
  runit: (pid) => {
    const lines = children(pid);
    return lines.length > 0 && !lines.some((line) => line.includes("/etc/runit/1 "));
  },
};

/** It can be told whether the init is through with its boot. */
export function hasBootEnd(init: InitName | null): boolean {
  return init !== null && BOOTED[init] !== undefined;
}

/** Whether PID 1 of a machine, whose pid on the host that is, has come to the end of its boot scripts. */
export function isBooted(init: InitName | null, pid: number): boolean {
  const rule = init === null ? undefined : BOOTED[init];
  try {
    return rule === undefined || rule(pid);
  } catch {
    return false; // it has just ended
  }
}

/** Words with a space after each, so that one can be told from the beginning of a longer one. */
function commandLine(pid: number | string): string {
  return readHead(`/proc/${pid}/cmdline`, COMMAND_LINE_BYTES).toString("latin1").replaceAll("\0", " ");
}

function children(pid: number): readonly string[] {
  const text = readHead(`/proc/${pid}/task/${pid}/children`, CHILDREN_BYTES).toString("latin1");
  // Each pid has a space after it: what has none is cut.
  return text
    .split(" ")
    .slice(0, -1)
    .map((child) => {
      try {
        return commandLine(child);
      } catch {
        return "";
      }
    });
}

function systemCall(pid: number): string | undefined {
  return readHead(`/proc/${pid}/syscall`, 256).toString("latin1").split(" ")[0];
}
