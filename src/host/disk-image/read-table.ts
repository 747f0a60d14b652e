import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { BerthError, errorCode } from "../../errors.ts";
import { visible } from "../../spec/quote.ts";
import { ARCH } from "../../sys/libc.ts";
import { deviceSize } from "../../sys/loop.ts";
import { runConfined } from "../confine.ts";
import type { Disk } from "./layout.ts";
import { type DiskTable, parseTable, SCRIPT } from "./table.ts";

/** ms that reading a table may take. */
const PATIENCE = 20_000;
/** Of formats for virtual machines, what a file begins with. */
const FORMATS: readonly (readonly [magic: string, name: string])[] = [
  ["QFI\xfb", "qcow2"],
  ["KDMV", "VMDK"],
  ["conectix", "VHD"],
  ["vhdxfile", "VHDX"],
];
const HEAD = 8;

export interface ReadDisk {
  readonly disk: Disk;
  readonly table: DiskTable;
}

/** Which partitions an image has, and what is in them. Programs of the system find that out, without any rights. @throws BerthError */
export async function readDisk(image: string): Promise<ReadDisk> {
  const { disk, isFile } = openDisk(image);
  const lines: string[] = [];
  const { status } = await runConfined(SCRIPT, [], {
    directory: realpathSync(image),
    isFile,
    writable: false,
    signal: AbortSignal.timeout(PATIENCE),
    onLine: (line) => lines.push(line),
  });
  const table = parseTable(lines);
  if (table !== null) return { disk, table };
  const why = lines.at(-1) ?? status;
  throw new BerthError(`cannot read the partition table of ${visible(image)}: ${why}`, {
    hint: "partx and blkid, which read it, are part of util-linux",
  });
}

function openDisk(image: string): { disk: Disk; isFile: "file" | "device" } {
  const fd = open(image);
  try {
    const stat = fstatSync(fd);
    const isDevice = stat.isBlockDevice();
    if (!stat.isFile() && !isDevice)
      throw new BerthError(`${visible(image)} is neither a file nor a block device, and no disk image therefore`);
    const head = Buffer.alloc(HEAD);
    const length = readSync(fd, head, 0, HEAD, 0);
    const text = head.toString("latin1", 0, length);
    const format = FORMATS.find(([magic]) => text.startsWith(magic))?.[1];
    if (format !== undefined)
      throw new BerthError(`${visible(image)} is a disk of a virtual machine (${format}), not a raw image`, {
        hint: "qemu-img convert -O raw makes one of it",
      });
    const size = isDevice ? deviceSize(fd) : stat.size;
    if (size === 0) throw new BerthError(`${visible(image)} is empty`);
    return { disk: { path: image, size, arch: ARCH }, isFile: isDevice ? "device" : "file" };
  } finally {
    closeSync(fd);
  }
}

function open(image: string): number {
  try {
    return openSync(image, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") throw new BerthError(`${visible(image)}: no such disk image`, { cause: error });
    throw new BerthError(`${visible(image)}: cannot read the disk image: ${code}`, {
      cause: error,
      ...(code === "EACCES" && { kind: "AccessDenied" }),
    });
  }
}
