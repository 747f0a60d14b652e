import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import type { CommandResult } from "../host/command.ts";
import type { ViewOptions } from "../host/run-in-view.ts";
import { closeQuietly, growPipe } from "../sys/files.ts";
import { pipe } from "../sys/sockets.ts";

/** Bytes between the two: what makes each wait for the other less often. */
const PIPE = 1 << 20;
/** ms. */
const SOON = 100;

/** Runs a program in a view of its own. */
export type RunProgram = (options: ViewOptions) => Promise<CommandResult>;

export interface PipedEnd {
  readonly reader: CommandResult;
  /** Null: the reader had failed before this one came to its end, which says nothing then. */
  readonly writer: CommandResult | null;
}

export interface PipedOptions {
  /** Comes before what the writer writes: bytes, as many as a pipe takes at once (4096). */
  readonly head?: Buffer;
  /** Reads what a reader that has succeeded has left. */
  readonly rest?: RunProgram | undefined;
}

/**
 * Lets `reader` read what `writer` writes, at the same time, each in a view of its own, with no shell between them. The end of a writer is its
 * own: nobody takes the pipe from it while its reader may succeed; when that has failed it is killed, as it may wait for what never comes.
 * Where one can't be run the other one is ended. @throws BerthError for that one; the signal's reason if that was aborted
 */
export async function runPiped(
  writer: RunProgram,
  reader: RunProgram,
  signal: AbortSignal,
  { head, rest }: PipedOptions = {},
): Promise<PipedEnd> {
  const failed = new AbortController();
  const unwanted = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const begin = async (
    program: RunProgram,
    ends: Omit<ViewOptions, "signal">,
    signal: AbortSignal = either,
  ): Promise<CommandResult> => program({ ...ends, signal });
  const orEndAll = (error: unknown): never => {
    failed.abort(error);
    throw error;
  };
  const [readEnd, writeEnd] = pipe();
  growPipe(writeEnd, PIPE);
  using ours = new DisposableStack();
  ours.defer(() => closeQuietly(readEnd));
  const theirs = ours.use(new DisposableStack());
  theirs.defer(() => closeQuietly(writeEnd));
  if (head !== undefined) writeSync(writeEnd, head);
  let hasEnded = false;
  const whileWanted = AbortSignal.any([either, unwanted.signal]);
  const written = begin(writer, { stdout: writeEnd, onHandedOver: () => theirs.dispose() }, whileWanted)
    .finally(() => {
      theirs.dispose();
      hasEnded = true;
    })
    .catch((error: unknown) => (unwanted.signal.aborted ? null : orEndAll(error)));
  const read = begin(reader, { stdin: readEnd }).catch(orEndAll);
  const end = async (): Promise<PipedEnd> => {
    const reader = await read;
    await soon(written);
    if (!hasEnded && !reader.ok) {
      unwanted.abort();
      await written;
      return { reader, writer: null };
    }
    if (!hasEnded && rest !== undefined) {
      const { ok, status } = await begin(rest, { stdin: readEnd });
      if (!ok) throw new BerthError(`what was left in a pipe can't be read to its end: the program for that ${status}`);
    }
    ours.dispose();
    return { reader, writer: await written };
  };
  const ended = end().catch(orEndAll);
  await Promise.allSettled([written, read, ended]);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
  return ended;
}

/** Who has ended by itself is heard of after `SOON` at the latest. */
async function soon(promise: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const timer = sleep(SOON, undefined, { signal: over.signal }).catch(() => undefined);
  await Promise.race([promise, timer]).finally(() => over.abort());
}
