import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { type Launch, LaunchError } from "../exec/launch.ts";
import type { Paths } from "../host/paths.ts";
import { openNull } from "../sys/files.ts";
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

/**
 * What a command in a machine prints on stdout; undefined: it failed, or is not there. Its programs are the machine's:
 * they get 2 s and 64 KiB.
 * @throws BerthError when the machine can't be entered, or the command goes beyond that; it is killed then
 */
export async function captureIn(
  machine: MachineRecord,
  argv: readonly string[],
  paths: Paths,
): Promise<string | undefined> {
  const [output, writeEnd] = pipe();
  const socket = new Socket({ fd: output, readable: true, writable: false });
  try {
    const fds = new Map([
      ["stdio:0", openNull()],
      ["stdio:1", writeEnd],
      ["stdio:2", openNull()],
    ]);
    const launch = joinMachine(machine, { argv, term: undefined, fds }, paths);
    const work = capture(launch, socket);
    const answer = await Promise.race([work, sleep(TIME_MAX_MS, LATE, { ref: false })]);
    if (answer !== LATE) return answer;
    const late = new BerthError(`${argv[0]} in machine ${machine.name} did not end within ${TIME_MAX_MS / 1000} s`);
    launch.abort(late);
    kill(launch);
    socket.destroy();
    await Promise.race([work.catch(() => undefined), sleep(GRACE_MS)]);
    throw late;
  } finally {
    socket.destroy();
  }
}

async function capture(launch: Launch, output: Socket): Promise<string | undefined> {
  try {
    await launch.run();
    const said = await readAll(output);
    if (said === undefined) kill(launch);
    const status = await joinedStatus(launch);
    if (said === undefined) throw new BerthError(`the answer from inside is longer than ${BYTES_MAX} bytes`);
    return status === 0 ? said : undefined;
  } catch (error) {
    const isMissing = error instanceof LaunchError && error.step?.kind === "execute";
    if (isMissing) return undefined;
    throw error;
  } finally {
    launch.release();
  }
}

/** Undefined: too much. */
async function readAll(output: Socket): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of output as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The command, as soon as there is one. */
function kill({ fds }: Launch): void {
  if (fds.has("leader")) pidfdSendSignal(fds.get("leader"), SIGKILL);
}
