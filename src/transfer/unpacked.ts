import { BerthError } from "../errors.ts";
import type { CommandResult } from "../host/command.ts";
import { runConfinedAlone } from "../host/confine.ts";
import type { ArchiveInput } from "./archive-input.ts";
import { missingProgram, PACKER, programOf } from "./compression.ts";
import { type RunProgram, runPiped } from "./piped.ts";

/** Puts a pipe's first bytes, which have been read, before the rest: those are in the next pipe already. */
const FEEDER: readonly string[] = ["cat"];
/** Takes what a reader leaves. */
const REST: readonly string[] = ["wc", "-c"];

const NOT_FOUND = 127;

export interface UnpackedOptions {
  readonly signal: AbortSignal;
  /** What the unpacker says, which parses what somebody else made. */
  readonly onLine: (line: string) => void;
  /** What follows where the reader ends is read too, so that the unpacker comes to its checksum. */
  readonly toTheEnd: boolean;
}

export interface UnpackedEnd {
  readonly reader: CommandResult;
  /** Null: there is nothing to unpack, or the reader had failed before. */
  readonly unpacker: CommandResult | null;
}

/**
 * Lets a program read what is in an archive: itself, or what the unpacker makes of it, each in a view of its own.
 * @throws BerthError where one can't be run, or the archive can't be read; the signal's reason if that was aborted
 */
export async function readUnpacked(
  input: ArchiveInput,
  reader: RunProgram,
  { signal, onLine, toTheEnd }: UnpackedOptions,
): Promise<UnpackedEnd> {
  const command = programOf(input.compression, "unpack");
  const rest: RunProgram | undefined = toTheEnd ? (ends) => runConfinedAlone(REST, PACKER, null, ends) : undefined;
  let end: UnpackedEnd | undefined;
  const read: RunProgram = async (from) => {
    const unpacker: RunProgram = (ends) => runConfinedAlone(command, PACKER, null, { ...from, ...ends, onLine });
    const ends = command.length === 0 ? null : await runPiped(unpacker, reader, from.signal, { rest });
    end = { reader: ends?.reader ?? (await reader(from)), unpacker: ends?.writer ?? null };
    return end.unpacker?.ok === false ? end.unpacker : end.reader;
  };
  if (!input.isPipe) await read({ stdin: input.fd, signal });
  else await feed(input, read, signal, rest);
  if (end === undefined) throw new Error("nothing has read the archive");
  // What unpacks may be a script, which is there when its program is not.
  if (end.unpacker?.code === NOT_FOUND) throw missingProgram(input.compression);
  return end;
}

async function feed({ fd, head }: ArchiveInput, read: RunProgram, signal: AbortSignal, rest: RunProgram | undefined) {
  const said: string[] = [];
  const onLine = (line: string): number => said.push(line);
  const feeder: RunProgram = (ends) => runConfinedAlone(FEEDER, PACKER, null, { ...ends, stdin: fd, onLine });
  const { writer } = await runPiped(feeder, read, signal, { rest, head });
  // That nobody reads on is no fault of what is read. All else is: its reader took the end that came by that for its own.
  if (writer === null || writer.ok || said.some((line) => NOBODY_READS.test(line))) return;
  const reason = said.at(-1)?.replace(/^cat: (-: )?/, "") ?? `the program for that ${writer.status}`;
  throw new BerthError(`the archive can't be read: ${reason}`);
}

const NOBODY_READS = /: Broken pipe$/;
