import { readdir } from "node:fs/promises";
import { BerthError } from "../errors.ts";
import type { CommandResult } from "../host/command.ts";
import { runConfined, runConfinedAlone } from "../host/confine.ts";
import type { Beside } from "../image/make.ts";
import { writeBeside } from "../image/write-back.ts";
import type { ArchiveInput } from "./archive-input.ts";
import { missingProgram, PACKER, programOf } from "./compression.ts";
import { guardSpace, NoSpaceLeft } from "./free-space.ts";
import { type RunProgram, runPiped } from "./piped.ts";

/** To give files to every owner, with every mode, node and capability. No right to mount, trace, or leave a root directory. */
const CAPABILITIES = [
  ...(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP"] as const),
];
/** The same, as setpriv(1) has them. */
export const EXTRACT_CAPABILITIES = CAPABILITIES.map((name) => name.toLowerCase().replace("cap_", "+")).join(",");

/** Of 512 bytes, what tar(1) reads and writes at a time: with its usual 20 it takes a fifth more of a processor. */
const BLOCKS = 512;

/**
 * In the directory that it begins in: for each ACL and attribute below another one it would go there and back, five system calls for one,
 * where there is no /proc.
 */
const TAR: readonly string[] = [
  "tar",
  ...["--extract", "--file=-", `--blocking-factor=${BLOCKS}`, "--delay-directory-restore"],
  ...["--numeric-owner", "--same-owner", "--same-permissions", "--acls"],
  ...["--xattrs", "--xattrs-include=user.*", "--xattrs-exclude=user.overlay.*", "--xattrs-include=security.capability"],
  ...["--block-number", "--quoting-style=escape", "--warning=no-timestamp"],
];

/** Whatever follows the archive's end, so that the unpacker comes to its checksum: tar(1) leaves it. */
const REST: readonly string[] = ["wc", "-c"];

/**
 * Of what comes through a pipe. Arguments: what to put before the input, in printf(1)'s escapes; then the unpacker, if any. Whatever
 * follows the archive's end is read too, so that the unpacker comes to its checksum. No copies where none are needed.
 */
const SCRIPT = `
set +e
head=$1
shift
extract() {
  with_capabilities ${EXTRACT_CAPABILITIES} ${TAR.map((word) => `'${word}'`).join(" ")}
  echo "tar=$?" >&3
  wc -c >&2
}
put_back() {
  printf "$head"
  cat
}
unpack() {
  if [ -n "$head" ]; then put_back | as_nobody "$@"; else as_nobody "$@"; fi
  echo "unpacker=$?" >&3
}
status=$( {
  if [ "$#" -gt 0 ]; then unpack "$@" | extract
  elif [ -n "$head" ]; then put_back | extract
  else extract
  fi
} 3>&1 >&2 )
echo berth-status $status
`;

export interface ExtractOptions {
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
  /** An archive with nothing in it is one, too. */
  readonly mayBeEmpty?: boolean;
  /** Default: what is unpacked goes to the disk meanwhile. */
  readonly beside?: Beside;
}

/**
 * Unpacks an archive into an empty directory. Whatever is in it, nothing else changes; a damaged, cut or empty one, one
 * with names that lead out of it, and one that leaves no room on the disk, are refused.
 * @throws BerthError; the directory then holds what was unpacked until then
 */
export async function extractArchive(input: ArchiveInput, directory: string, options: ExtractOptions): Promise<void> {
  const { onLine, beside = writeBeside } = options;
  const end = new EndOfArchive();
  const reasons: string[] = [];
  const unpacker = programOf(input.compression, "unpack");
  const take = (line: string): void => {
    if (end.take(line) || NO_REASON.test(line)) return;
    if (reasons.length < REASONS) reasons.push(line);
    onLine(line);
  };
  const unpack = async (signal: AbortSignal): Promise<CommandResult> => {
    const tree = { directory, writable: true };
    const options = { signal, stdin: input.fd, onLine: take };
    // A pipe's first bytes have been read.
    if (input.allocated === null)
      return runConfined(SCRIPT, [escaped(input.head), ...unpacker], { ...tree, ...options });
    const tar: RunProgram = (ends) =>
      runConfinedAlone(TAR, { capabilities: CAPABILITIES }, tree, { ...options, ...ends });
    const unpacking: RunProgram = (ends) => runConfinedAlone(unpacker, PACKER, null, { ...options, ...ends });
    const { writer, reader } =
      unpacker.length === 0
        ? { writer: null, reader: await tar(options) }
        : await runPiped(unpacking, tar, signal, (ends) => runConfinedAlone(REST, PACKER, null, ends));
    end.tar = reader.code ?? undefined;
    end.unpacker = writer?.code ?? undefined;
    if (writer?.code === null) end.killed = writer.status;
    return reader;
  };
  const work = async (signal: AbortSignal): Promise<void> => {
    const { status } = await beside(directory, () => unpack(signal));
    const fault = NoSpaceLeft.in(reasons) ?? faultOf(input, end, reasons, status);
    if (fault !== undefined) throw fault;
  };
  await guardSpace(directory, options.signal, work, unpacker.length > 0 ? null : input.allocated);
  if (options.mayBeEmpty !== true && (await readdir(directory)).length === 0) throw damaged("there is nothing in it");
}

/** What tar(1) and the script say of the end. Names are escaped, so that no line of theirs looks like one of these. */
class EndOfArchive {
  whole: boolean | undefined;
  lone = false;
  tar: number | undefined;
  unpacker: number | undefined;
  /** How the unpacker ended that had no time to say so. */
  killed: string | undefined;

  /** False: it is about something else. */
  take(line: string): boolean {
    const [, mark] = /^(?:block \d+: )+\*\* (Block of NULs|End of File) \*\*$/.exec(line) ?? [];
    if (mark !== undefined) this.whole = mark === "Block of NULs";
    else if (line.startsWith("berth-status ")) {
      this.tar = statusIn(line, "tar");
      this.unpacker = statusIn(line, "unpacker");
    } else if (/^tar: A lone zero block/.test(line)) this.lone = true;
    else return /^\d+$/.test(line);
    return true;
  }
}

function statusIn(line: string, who: string): number | undefined {
  const status = new RegExp(`\\b${who}=(\\d+)`).exec(line)?.[1];
  return status === undefined ? undefined : Number(status);
}

const NOT_FOUND = 127;
/** Of what is said that many lines are looked at. */
const REASONS = 50;

function faultOf(
  { compression }: ArchiveInput,
  end: EndOfArchive,
  said: readonly string[],
  status: string,
): BerthError | undefined {
  // Not every unpacker says its name.
  const [tarred, unpacked] = [true, false].map((tar) => said.find((line) => line.startsWith("tar: ") === tar));
  if (end.tar === undefined) return new BerthError(`cannot unpack the archive: ${said.at(-1) ?? status}`);
  if (end.unpacker === NOT_FOUND) return missingProgram(compression);
  if (end.killed !== undefined) return new BerthError(`cannot unpack the archive: ${compression.name} ${end.killed}`);
  // What it gives until it finds out is cut, and tar says so too: this is the reason.
  if (end.unpacker !== undefined && end.unpacker !== 0)
    return damaged(unpacked ?? `${compression.name} ended with status ${end.unpacker}`);
  if (end.tar !== 0) return damaged(tarred ?? `tar ended with status ${end.tar}`);
  if (end.whole !== true || end.lone) return damaged("it ends before its end");
  return undefined;
}

/** What tar(1) says besides, also of good archives. */
const NO_REASON = /^tar: (Removing leading|Exiting with failure)|^(setpriv|unshare): |^$/;

/** What tar(1) makes of a disk image: zeros at the beginning are an archive's end. */
const NO_ARCHIVE = /there is nothing in it|does not look like a tar archive/;

function damaged(why: string): BerthError {
  const other = NO_ARCHIVE.test(why) ? "; is it a disk image? import-raw and pull-raw take those" : "";
  return new BerthError(`the archive is refused: ${why}`, { hint: `nothing of it is left here${other}` });
}

function escaped(bytes: Buffer): string {
  return [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}
