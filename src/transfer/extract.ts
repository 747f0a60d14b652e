import { fstatSync, readSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { freemem } from "node:os";
import { BerthError } from "../errors.ts";
import { runConfinedAlone } from "../host/confine.ts";
import type { Beside } from "../image/make.ts";
import { writeBeside } from "../image/write-back.ts";
import type { ArchiveInput } from "./archive-input.ts";
import { NONE } from "./compression.ts";
import { guardSpace, NoSpaceLeft } from "./free-space.ts";
import type { RunProgram } from "./piped.ts";
import { readUnpacked, type UnpackedEnd } from "./unpacked.ts";

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

/** Names of entries to stdout. With that no name looks like what tar(1) says there of the archive's end. */
const LISTED: readonly string[] = ["--verbose", "--quote-chars=*"];

/**
 * Bytes of memory for tar(1), and no more than half of what there is: of a name or an attribute, which may be as long as who made the
 * archive says, it has all there at once, and of an archive that is packed well 100 kB say 3 GB.
 */
const MEMORY_MAX = 1 << 30;
/** From which on that is none, bytes. */
const NO_LIMIT = 2 ** 60;
const EXHAUSTED = "tar: memory exhausted";
/** What it takes of any host. */
const MEMORY_MIN = 64 << 20;

export interface ExtractOptions {
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
  /** An archive with nothing in it is one, too. */
  readonly mayBeEmpty?: boolean;
  /** A file, open to be read and written, that gets the names of all entries (oci/listing.ts reads them). */
  readonly listing?: number | undefined;
  /** Default: what is unpacked goes to the disk meanwhile. */
  readonly beside?: Beside;
}

/**
 * Unpacks an archive into an empty directory. Whatever is in it, nothing else changes; a damaged, cut or empty one, one
 * with names that lead out of it, and one that leaves no room on the disk, are refused.
 * @throws BerthError; the directory then holds what was unpacked until then
 */
export async function extractArchive(input: ArchiveInput, directory: string, options: ExtractOptions): Promise<void> {
  const { onLine, beside = writeBeside, listing } = options;
  const end = new EndOfArchive();
  const reasons: string[] = [];
  let unknown: string | undefined;
  const take = (line: string): void => {
    if (end.take(line) || NO_REASON.test(line)) return;
    unknown ??= NO_ACL.exec(line)?.[1];
    if (reasons.length < REASONS || line === EXHAUSTED) reasons.push(line);
    onLine(line);
  };
  // Packers write ACLs by name: to go without one would give the owner's group what the mask lets all the others have.
  const tree = { directory, writable: true, names: true };
  const [program, output] = listing === undefined ? [TAR, {}] : [[...TAR, ...LISTED], { stdout: listing }];
  const memory = Math.min(MEMORY_MAX, Math.max(MEMORY_MIN, Math.floor(memoryHere() / 2)));
  const tar: RunProgram = (ends) =>
    runConfinedAlone(program, { capabilities: CAPABILITIES, memory }, tree, {
      ...ends,
      ...output,
      onLine: take,
    });
  const work = async (signal: AbortSignal): Promise<void> => {
    const unpack = (): Promise<UnpackedEnd> => readUnpacked(input, tar, { signal, onLine: take, toTheEnd: true });
    const programs = await beside(directory, unpack);
    if (listing !== undefined) end.take(lastLine(listing));
    const fault = NoSpaceLeft.in(reasons) ?? faultOf(input, end, reasons, programs);
    if (fault !== undefined) throw fault;
    if (unknown !== undefined) throw aclUnknown(unknown);
  };
  await guardSpace(directory, options.signal, work, input.compression === NONE ? input.allocated : null);
  if (options.mayBeEmpty !== true && (await readdir(directory)).length === 0) throw damaged("there is nothing in it");
}

/** Bytes. What a cgroup may have is often taken by the pages of files, which the kernel gives back: half of it is there all the same. */
function memoryHere(): number {
  const limit = process.constrainedMemory();
  return Math.min(freemem(), Math.max(process.availableMemory(), limit < NO_LIMIT ? limit / 2 : 0));
}

/** What tar(1) says of the archive's end. Names are escaped, so that no line of theirs looks like one of these. */
class EndOfArchive {
  whole = false;
  lone = false;

  /** False: it is about something else. */
  take(line: string): boolean {
    const [, mark] = /^(?:block \d+: )+\*\* (Block of NULs|End of File) \*\*$/.exec(line) ?? [];
    if (mark !== undefined) this.whole = mark === "Block of NULs";
    else if (/^tar: A lone zero block/.test(line)) this.lone = true;
    else return false;
    return true;
  }
}

/** Bytes that the last line of a listing has at most, if that is what is looked for. */
const MARK_MAX = 80;

function lastLine(fd: number): string {
  const bytes = Buffer.alloc(MARK_MAX);
  const length = readSync(fd, bytes, 0, MARK_MAX, Math.max(0, fstatSync(fd).size - MARK_MAX));
  return bytes.toString("latin1", 0, length).trimEnd().split("\n").at(-1) ?? "";
}

/** Of what is said that many lines are looked at. */
const REASONS = 50;

function faultOf(
  { compression }: ArchiveInput,
  end: EndOfArchive,
  said: readonly string[],
  { reader: tar, unpacker }: UnpackedEnd,
): BerthError | undefined {
  // Not every unpacker says its name.
  const [tarred, unpacked] = [true, false].map((tar) => said.find((line) => line.startsWith("tar: ") === tar));
  if (tar.code === null) return new BerthError(`cannot unpack the archive: ${said.at(-1) ?? tar.status}`);
  if (unpacker?.code === null)
    return new BerthError(`cannot unpack the archive: ${compression.name} ${unpacker.status}`);
  // What it gives until it finds out is cut, and tar says so too: this is the reason.
  if (unpacker?.ok === false) return damaged(unpacked ?? `${compression.name} ${unpacker.status}`);
  if (said.includes(EXHAUSTED))
    return damaged("the names and attributes in it take more memory than tar may have here");
  if (!tar.ok) return damaged(tarred ?? `tar ${tar.status}`);
  if (!end.whole || end.lone) return damaged("it ends before its end");
  return undefined;
}

/** What tar(1) says of an entry whose ACL it leaves out. */
const NO_ACL = /^tar: (.*): Warning: Cannot acl_from_text: /;

function aclUnknown(entry: string): BerthError {
  return new BerthError(
    `the archive is refused: the ACL of ${entry} is not understood: it names who this host does not know, or is in bsdtar's form`,
    { hint: "GNU tar with --acls --numeric-owner packs their numbers; nothing of it is left here" },
  );
}

/** What tar(1) says besides, also of good archives. */
const NO_REASON = /^tar: (Removing leading|Exiting with failure)|^$/;

/** What tar(1) makes of a disk image: zeros at the beginning are an archive's end. */
const NO_ARCHIVE = /there is nothing in it|does not look like a tar archive/;

function damaged(why: string): BerthError {
  const other = NO_ARCHIVE.test(why) ? "; is it a disk image? import-raw and pull-raw take those" : "";
  return new BerthError(`the archive is refused: ${why}`, { hint: `nothing of it is left here${other}` });
}
