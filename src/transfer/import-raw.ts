import { closeSync, constants, openSync } from "node:fs";
import { rename, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { runConfined, runConfinedAlone } from "../host/confine.ts";
import { cutOf } from "../host/disk-image/cut.ts";
import { layoutOf } from "../host/disk-image/layout.ts";
import { readDisk } from "../host/disk-image/read-table.ts";
import { rawDriver } from "../image/drivers/raw.ts";
import type { ImageStore } from "../image/store.ts";
import { writeBeside } from "../image/write-back.ts";
import { closeQuietly, offsetOf } from "../sys/files.ts";
import { readHead } from "../sys/read-head.ts";
import { type ArchiveInput, openArchive } from "./archive-input.ts";
import { NONE, PACKER } from "./compression.ts";
import { guardSpace, NoSpaceLeft, tellFull } from "./free-space.ts";
import type { RunProgram } from "./piped.ts";
import { isCutQcow } from "./qcow2.ts";
import type { Control } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";
import { readUnpacked, type UnpackedEnd } from "./unpacked.ts";

/** ms between two looks at how far it is. */
const LOOK = 200;
/** How many times as large as its file system an image may be that is nearly all holes. */
const HOLLOW = 4;

/** A disk image of what is open at `fd`: raw or qcow2, compressed or not. @throws BerthError; nothing is left then */
export async function importRaw(store: ImageStore, fd: number, image: NewImage, control: Control): Promise<void> {
  const { signal, log } = control;
  const making = { ...image, signal, driver: rawDriver };
  await tellFull(store.paths.machines, () => store.make(making, (workspace) => writeDisk(workspace, fd, control)));
  log(`${image.name} is complete`);
}

/** Writes it into the workspace, with holes where there are zeros; returns its path. */
export async function writeDisk(workspace: string, fd: number, { signal, progress, log }: Control): Promise<string> {
  const input = await openArchive(fd, signal);
  log(`writing, compression: ${input.compression.name}`);
  const path = join(workspace, "disk");
  const looking = setInterval(() => progress(input.fraction() ?? 0), LOOK);
  try {
    await guardSpace(
      workspace,
      signal,
      (either) => writeBeside(workspace, () => unpackDisk(input, workspace, path, either)),
      input.compression === NONE ? input.allocated : null,
    );
    if (isQcow(path)) {
      if (await isCutQcow(path, { most: await limitOf(workspace), signal }))
        throw refused("it is cut: clusters of this qcow2 lie beyond its end");
      await convert(workspace, signal, log);
      await requirePossible(workspace, path);
    }
  } finally {
    clearInterval(looking);
  }
  if ((await stat(path)).size === 0) throw refused("there is nothing in it");
  progress(1);
  await lookAtContent(path, log);
  return path;
}

async function unpackDisk(input: ArchiveInput, workspace: string, path: string, signal: AbortSignal): Promise<void> {
  // A whole file: its blocks are shared where that can be.
  if (input.compression === NONE && !input.isPipe && offsetOf(input.fd) === 0) return copyFile(input.fd, path, signal);
  const fd = newDisk(path);
  try {
    const limit = await limitOf(workspace);
    const said: Said = { unpacker: [], dd: [] };
    const write: RunProgram = async (ends) => {
      const onLine = (line: string): number => said.dd.push(line);
      const result = await runConfinedAlone(ddOf(limit + 1), PACKER, null, { ...ends, stdout: fd, onLine });
      // Whoever writes has no reader then, and may have no end.
      if (result.ok) await requirePossible(workspace, path);
      return result;
    };
    const onLine = (line: string): number => said.unpacker.push(line);
    const ended = await readUnpacked(input, write, { signal, onLine, toTheEnd: false });
    const fault = NoSpaceLeft.in(said.dd) ?? faultOf(input, said, ended);
    if (fault !== undefined) throw fault;
  } finally {
    closeQuietly(fd);
  }
}

function newDisk(path: string): number {
  return openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
}

/** dd(1) of that many bytes: it makes the holes. */
function ddOf(bytes: number): readonly string[] {
  return ["dd", "bs=64k", "iflag=fullblock,count_bytes", `count=${bytes}`, "conv=sparse", "status=none"];
}

interface Said {
  readonly unpacker: string[];
  readonly dd: string[];
}

/** Bytes. */
async function limitOf(workspace: string): Promise<number> {
  const { blocks, bsize } = await statfs(workspace);
  return blocks * bsize * HOLLOW;
}

async function requirePossible(workspace: string, path: string): Promise<void> {
  const limit = await limitOf(workspace);
  if ((await stat(path)).size > limit)
    throw refused(`it is larger than ${limit} bytes, which this disk could never hold`);
}

function faultOf({ compression }: ArchiveInput, said: Said, { reader, unpacker }: UnpackedEnd): BerthError | undefined {
  if (!reader.ok) return new BerthError(`cannot write the image: ${said.dd.at(-1) ?? `dd ${reader.status}`}`);
  if (unpacker?.ok === false) return refused(said.unpacker[0] ?? `${compression.name} ${unpacker.status}`);
  return undefined;
}

async function copyFile(fd: number, path: string, signal: AbortSignal): Promise<void> {
  const source = `/proc/${process.pid}/fd/${fd}`;
  const words = ["--reflink=auto", "--sparse=always", "--no-preserve=mode", "--", source, path];
  closeSync(newDisk(path));
  const result = await runCommand("cp", words, { signal });
  if (!result.ok)
    throw (
      NoSpaceLeft.in(result.tail) ?? new BerthError(`cannot write the image: ${result.tail.at(-1) ?? result.status}`)
    );
}

function isQcow(path: string): boolean {
  return readHead(path, QCOW.length).toString("latin1") === QCOW;
}

const QCOW = "QFI\xfb";

/** What names other files is read where there are none. */
const CONVERT = `
set +e
umask 077
setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \\
  prlimit --as=4294967296 qemu-img convert -f qcow2 -O raw -S 4k /tree/disk /tree/converted
echo "berth-status $?"
`;

async function convert(workspace: string, signal: AbortSignal, log: Control["log"]): Promise<void> {
  log("converting from qcow2");
  const lines: string[] = [];
  await guardSpace(workspace, signal, async (either) => {
    await runConfined(CONVERT, [], {
      directory: workspace,
      writable: true,
      signal: either,
      onLine: (line) => lines.push(line),
    });
    const full = NoSpaceLeft.in(lines);
    if (full !== undefined) throw full;
  });
  const status = /^berth-status (\d+)$/.exec(lines.at(-1) ?? "")?.[1];
  if (status === "127")
    throw new BerthError("the image is of the format qcow2, which needs qemu-img, not installed here", {
      hint: "apt-get install qemu-utils, or convert it elsewhere: qemu-img convert -O raw",
      kind: "NotSupported",
    });
  if (status !== "0") throw refused(lines.at(-2) ?? "qemu-img can't convert it");
  await rename(join(workspace, "converted"), join(workspace, "disk"));
}

/** It may be meant for something else than a machine of berth's: that is said, and no more. @throws BerthError of one that is cut */
async function lookAtContent(path: string, log: Control["log"]): Promise<void> {
  const found = await tellWhyNot(path, log, () => readDisk(path));
  if (found === undefined) return;
  const { missing, doubtful } = cutOf(path, found);
  if (missing !== null) throw refused(missing);
  for (const line of doubtful) log(`it may have been cut: ${line}`, 4);
  await tellWhyNot(path, log, async () => layoutOf(found.disk, found.table));
}

/** Undefined: no machine can run from it. */
async function tellWhyNot<T>(path: string, log: Control["log"], look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    const why = isTar(path)
      ? "it is a tar archive, which import-tar and pull-tar take"
      : error.message.replace(/^.* can't be used as a disk image: /, "");
    log(`no machine can run from it: ${why}`, 4);
    return undefined;
  }
}

/** By the mark of POSIX's format. */
function isTar(path: string): boolean {
  return readHead(path, TAR.at + TAR.mark.length).toString("latin1", TAR.at) === TAR.mark;
}

const TAR = { at: 257, mark: "ustar" };

function refused(why: string): BerthError {
  return new BerthError(`the image is refused: ${why}`, { hint: "nothing of it is left here" });
}
