import { fstatSync } from "node:fs";
import { DBusError } from "../bus/dbus-error.ts";
import { type Method, method } from "../bus/interface.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { authorise } from "../bus/polkit.ts";
import { BerthError } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Compression, compressionNamed, NONE as UNCOMPRESSED } from "../transfer/compression.ts";
import type { PullOptions } from "../transfer/pull-tar.ts";
import type { Transfer, TransferType } from "../transfer/transfer.ts";
import type { NewImage, Transfers } from "../transfer/transfers.ts";
import { invalid, notSupported } from "./access.ts";
import { IMPORT1, transferPath } from "./places.ts";

/** What images are of: the only class of them that berth has. */
export const MACHINE = "machine";
const CLASSES: readonly string[] = [MACHINE, "portable", "sysext", "confext"];
export const STARTED = ["transfer_id", "transfer_path"] as const;
const OPEN = { unprivileged: true } as const;
const VERIFY = ["no", "checksum", "signature"] as const;
/** Flags of the calls that end in Ex. */
const [FORCE, READ_ONLY, KEEP_DOWNLOAD] = [1n, 2n, 4n] as const;

type Import = (fd: number, image: NewImage) => Transfer;
type Export = (name: string, fd: number, format: string) => Transfer;
type Pull = (url: string, image: NewImage, options: PullOptions) => Transfer;

/** The methods that begin a transfer, each also as systemd 256 has it: with a class of images, and flags. */
export function transferMethods(transfers: Transfers): Readonly<Record<string, Method>> {
  return {
    ...importing("ImportTar", (fd, image) => transfers.importTar(fd, image)),
    ...importing("ImportRaw", (fd, image) => transfers.importRaw(fd, image)),
    ...importing("ImportFileSystem", (fd, image) => transfers.importFs(fd, image), requireDirectory),
    ...exporting("ExportTar", (name, fd, format) => transfers.exportTar(name, fd, formatOf(format))),
    ...exporting("ExportRaw", (name, fd, format) => transfers.exportRaw(name, fd, formatOf(format))),
    ...pulling("PullTar", (url, image, options) => {
      requireNew(transfers, "pull-tar", url);
      return transfers.pullTar(url, image, options);
    }),
    ...pulling("PullRaw", (url, image, options) => {
      requireNew(transfers, "pull-raw", url);
      return transfers.pullRaw(url, image, options);
    }),
  };
}

/** systemd-importd downloads from an address once at a time, whatever the image is to be called. */
function requireNew(transfers: Transfers, type: TransferType, url: string): void {
  if (transfers.list().some((each) => each.isOf(type, url)))
    throw new DBusError(`${IMPORT1}.TransferInProgress`, `Transfer for ${url} already in progress.`);
}

function formatOf(format: string): Compression {
  return format === "" ? UNCOMPRESSED : compressionNamed(format);
}

type Started = [id: number, path: string];

function started({ id }: Transfer): Started {
  return [id, transferPath(id)];
}

/** The fd is the transfer's, once there is one. */
function withFd(call: MethodCall, check: (fd: number) => void, begin: (fd: number) => Transfer): Started {
  const fd = takeFd(call);
  try {
    check(fd);
    return started(begin(fd));
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

function requireStream(fd: number): void {
  const stat = fstatSync(fd);
  if (!stat.isFile() && !stat.isFIFO()) throw invalid("The file descriptor is neither of a file nor of a pipe.");
}

function requireDirectory(fd: number): void {
  if (!fstatSync(fd).isDirectory())
    throw new BerthError("The file descriptor is none of a directory.", { kind: "ENOTDIR" });
}

function importing(member: string, begin: Import, check = requireStream): Readonly<Record<string, Method>> {
  const run = async (call: MethodCall, image: NewImage): Promise<Started> => {
    await authorise(call, `${IMPORT1}.import`);
    return withFd(call, check, (fd) => begin(fd, image));
  };
  return {
    [member]: method({
      ...OPEN,
      in: "hsbb",
      out: "uo",
      inNames: ["fd", "local_name", "force", "read_only"],
      outNames: STARTED,
      handler: (call, _fd, name, replace, readOnly) => run(call, { name, replace, readOnly }),
    }),
    [`${member}Ex`]: method({
      ...OPEN,
      in: "hsst",
      out: "uo",
      inNames: ["fd", "local_name", "class", "flags"],
      outNames: STARTED,
      handler: (call, _fd, name, imageClass, flags) => run(call, newImage(name, imageClass, flags, FORCE | READ_ONLY)),
    }),
  };
}

function exporting(member: string, begin: Export): Readonly<Record<string, Method>> {
  const run = async (call: MethodCall, name: string, format: string): Promise<Started> => {
    await authorise(call, `${IMPORT1}.export`);
    return withFd(call, requireStream, (fd) => begin(name, fd, format));
  };
  return {
    [member]: method({
      ...OPEN,
      in: "shs",
      out: "uo",
      inNames: ["local_name", "fd", "format"],
      outNames: STARTED,
      handler: (call, name, _fd, format) => run(call, name, format),
    }),
    [`${member}Ex`]: method({
      ...OPEN,
      in: "sshst",
      out: "uo",
      inNames: ["local_name", "class", "fd", "format", "flags"],
      outNames: STARTED,
      handler(call, name, imageClass, _fd, format, flags) {
        requireMachine(imageClass);
        requireFlags(flags, 0n);
        return run(call, name, format);
      },
    }),
  };
}

function pulling(member: string, begin: Pull): Readonly<Record<string, Method>> {
  const run = async (call: MethodCall, url: string, image: NewImage, mode: string, flags = 0n): Promise<Started> => {
    const verify = mode === "" ? "signature" : VERIFY.find((each) => each === mode);
    if (verify === undefined) throw invalid(`Unknown verification mode ${mode}`);
    await authorise(call, `${IMPORT1}.pull`);
    return started(begin(url, image, { verify, keepDownload: (flags & KEEP_DOWNLOAD) !== 0n }));
  };
  return {
    [member]: method({
      ...OPEN,
      in: "sssb",
      out: "uo",
      inNames: ["url", "local_name", "verify_mode", "force"],
      outNames: STARTED,
      handler: (call, url, name, mode, replace) => run(call, url, { name, replace, readOnly: false }, mode),
    }),
    [`${member}Ex`]: method({
      ...OPEN,
      in: "sssst",
      out: "uo",
      inNames: ["url", "local_name", "class", "verify_mode", "flags"],
      outNames: STARTED,
      handler: (call, url, name, imageClass, mode, flags) =>
        run(call, url, newImage(name, imageClass, flags, FORCE | READ_ONLY | KEEP_DOWNLOAD), mode, flags),
    }),
  };
}

function newImage(name: string, imageClass: string, flags: bigint, known: bigint): NewImage {
  requireMachine(imageClass);
  requireFlags(flags, known);
  return { name, replace: (flags & FORCE) !== 0n, readOnly: (flags & READ_ONLY) !== 0n };
}

function requireMachine(imageClass: string): void {
  requireClass(imageClass);
  if (imageClass !== MACHINE)
    throw notSupported(`berth has images of machines only, and none of class '${imageClass}'.`);
}

/** One that systemd 257 has. */
export function requireClass(imageClass: string): void {
  if (!CLASSES.includes(imageClass)) throw invalid(`Image class '${imageClass}' not known`);
}

export function requireFlags(flags: bigint, known: bigint): void {
  if ((flags & ~known) !== 0n) throw invalid(`Unknown flags 0x${flags.toString(16)}`);
}

/** The one that came along: the transfer's from here on. */
function takeFd(call: MethodCall): number {
  const [fd] = call.takeFds();
  if (fd === undefined) throw invalid("A file descriptor is needed.");
  return fd;
}
