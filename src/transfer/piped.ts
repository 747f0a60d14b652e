import type { CommandResult } from "../host/command.ts";
import type { ViewOptions } from "../host/run-in-view.ts";
import { closeQuietly, growPipe } from "../sys/files.ts";
import { pipe } from "../sys/sockets.ts";

/** Bytes between the two: what makes each wait for the other less often. */
const PIPE = 1 << 20;

/** Runs a program in a view of its own. */
export type RunProgram = (options: ViewOptions) => Promise<CommandResult>;

/**
 * Lets `reader` read what `writer` writes, at the same time, each in a view of its own, with no shell between them: nobody else has an end of
 * their pipe. Where one can't be run the other one is ended. @throws BerthError for that one; the signal's reason if that was aborted
 */
export async function runPiped(
  writer: RunProgram,
  reader: RunProgram,
  signal: AbortSignal,
): Promise<{ readonly writer: CommandResult; readonly reader: CommandResult }> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const [readEnd, writeEnd] = pipe();
  growPipe(writeEnd, PIPE);
  const run = async (
    program: RunProgram,
    options: Omit<ViewOptions, "signal">,
    end: number,
  ): Promise<CommandResult> => {
    using closing = new DisposableStack();
    closing.defer(() => closeQuietly(end));
    try {
      // The other one is to see its end, so nobody else may have it.
      return await program({ ...options, signal: either, onHandedOver: () => closing.dispose() });
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  };
  const both = [run(reader, { stdin: readEnd }, readEnd), run(writer, { stdout: writeEnd }, writeEnd)] as const;
  await Promise.allSettled(both);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
  return { reader: await both[0], writer: await both[1] };
}
