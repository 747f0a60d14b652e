import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { Launch } from "../exec/launch.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { buildOpenTerminal } from "../plan/live-mounts.ts";
import { closeQuietly, openNull } from "../sys/files.ts";
import { ARCH } from "../sys/libc.ts";
import { joinedStatus } from "./join.ts";
import { joinTarget } from "./join-target.ts";
import type { MachineRecord } from "./record.ts";

/** A terminal in a machine: our side of it, and what the other is called there. */
export interface Terminal {
  /** The taker's. */
  readonly fd: number;
  readonly number: number;
  readonly path: string;
}

/** What is mounted on the machine's /dev/pts may be of its own making, and never answer. */
const PATIENCE_MS = 10_000;

/** Opens a terminal of the machine's own. Nothing has its other side yet. */
export async function openTerminal(machine: MachineRecord, paths: Paths): Promise<Terminal> {
  const launch = new Launch(buildOpenTerminal(joinTarget(machine, paths)), {
    stage: stagePath(ARCH),
    arch: ARCH,
    loadFilter: () => {
      throw new Error("nothing is executed in the machine, so there is nothing to filter");
    },
  });
  const over = new AbortController();
  const late = new BerthError(`machine ${machine.name} did not give a terminal within ${PATIENCE_MS / 1000} s`);
  void sleep(PATIENCE_MS, undefined, { signal: over.signal, ref: false }).then(
    () => launch.abort(late),
    () => undefined,
  );
  try {
    await launch.run();
    await joinedStatus(launch);
    const fd = takeTerminal(launch);
    launch.release();
    return terminalOf(fd, machine.name);
  } finally {
    over.abort();
  }
}

/** From here on it is the taker's, and hung up when the taker closes it. */
export function takeTerminal({ fds }: Launch): number {
  const fd = fds.get("terminal");
  fds.name("terminal", openNull());
  return fd;
}

/** @throws BerthError when what the machine has given is no terminal; it is closed then */
export function terminalOf(fd: number, name: string): Terminal {
  // Never asked by ioctl: were it something else, of the machine's own making, that could wait for ever.
  const number = /^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1];
  if (number !== undefined) return { fd, number: Number(number), path: `/dev/pts/${number}` };
  closeQuietly(fd);
  throw new BerthError(`/dev/pts/ptmx of machine ${name} is no terminal`);
}
