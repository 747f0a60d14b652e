import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { type Launch, LaunchError } from "../exec/launch.ts";
import type { Paths } from "../host/paths.ts";
import { duplicate, openNull } from "../sys/files.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { pipe } from "../sys/sockets.ts";
import { joinedStatus, joinMachine } from "./join.ts";
import type { MachineRecord } from "./record.ts";

const BYTES_MAX = 64 * 1024;
const TIME_MAX_MS = 2000;
/** For a killed command to end. One that waits for a file system of the machine's own making may not do even that. */
const GRACE_MS = 500;
const SIGKILL = 9;
const LATE = Symbol("late");

/** What a command in a machine prints on stdout; undefined: it failed, or is not there. It gets 2 s. Throws as runIn does. */
export async function captureIn(
  machine: MachineRecord,
  argv: readonly string[],
  paths: Paths,
): Promise<string | undefined> {
  const answer = await runIn(machine, argv, paths, { time: TIME_MAX_MS, stderr: false });
  return answer?.status === 0 ? answer.said : undefined;
}

interface RunOptions {
  readonly time: number;
  /** What it says there is part of the answer. */
  readonly stderr: boolean;
  readonly bytes?: number;
}

export interface Answer {
  /** 128+N: it was killed by signal N. */
  readonly status: number;
  readonly said: string;
}

/**
 * Runs a command in a machine, without input; undefined: it can't be executed. Its programs are the machine's: they get
 * `time` in ms, and `bytes`, 64 KiB by default, for what they say.
 * @throws BerthError when the machine can't be entered, or the command goes beyond that; it is killed then
 */
export async function runIn(
  machine: MachineRecord,
  argv: readonly string[],
  paths: Paths,
  { time, stderr, bytes = BYTES_MAX }: RunOptions,
): Promise<Answer | undefined> {
  const [output, writeEnd] = pipe();
  const socket = new Socket({ fd: output, readable: true, writable: false });
  try {
    const fds = new Map([
      ["stdio:0", openNull()],
      ["stdio:1", writeEnd],
      ["stdio:2", stderr ? duplicate(writeEnd) : openNull()],
    ]);
    const launch = joinMachine(machine, { argv, term: undefined, fds }, paths);
    const work = capture(launch, socket, bytes);
    const answer = await Promise.race([work, sleep(time, LATE, { ref: false })]);
    if (answer !== LATE) return answer;
    const late = new BerthError(`${argv[0]} in machine ${machine.name} did not end within ${time / 1000} s`);
    launch.abort(late);
    kill(launch);
    socket.destroy();
    await Promise.race([work.catch(() => undefined), sleep(GRACE_MS)]);
    throw late;
  } finally {
    socket.destroy();
  }
}

async function capture(launch: Launch, output: Socket, bytes: number): Promise<Answer | undefined> {
  try {
    await launch.run();
    const said = await readAll(output, bytes);
    if (said === undefined) kill(launch);
    const status = await joinedStatus(launch);
    if (said === undefined) throw new BerthError(`the answer from inside is longer than ${bytes} bytes`);
    return { status, said };
  } catch (error) {
    const isMissing = error instanceof LaunchError && error.step?.kind === "execute";
    if (isMissing) return undefined;
    throw error;
  } finally {
    launch.release();
  }
}

/** Undefined: too much. */
async function readAll(output: Socket, bytes: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of output as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The command, as soon as there is one. */
function kill({ fds }: Launch): void {
  if (fds.has("leader")) pidfdSendSignal(fds.get("leader"), SIGKILL);
}
