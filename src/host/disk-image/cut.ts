import { closeSync, openSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import type { ReadDisk } from "./read-table.ts";
import { anyFileSystemSize, fileSystemSize, SUPERBLOCKS } from "./superblock.ts";
import type { Partition } from "./table.ts";

/** Whether a disk image is all there, by what its table and its file systems say of how large they are. */
export interface Cut {
  /** Something of it is certainly missing: it is refused. Null: nothing is. */
  readonly missing: string | null;
  /** What a machine may run without. */
  readonly doubtful: readonly string[];
}

/** `image`: the file, of which `found` was read. */
export function cutOf(image: string, found: ReadDisk): Cut {
  const fd = openSync(image, "r");
  try {
    const read: Read = (offset, length) => readAt(fd, offset, length);
    const { scheme } = found.table;
    const gpt = scheme === "gpt" || scheme === "pmbr" ? headerOf(read(SECTOR, SECTOR)) : null;
    const missing = missingOfTable(found, gpt) ?? missingOfContent(found, read) ?? missingOfPartitions(found, read);
    if (missing !== null) return { missing: `it is cut: ${missing}, and there are ${found.disk.size}`, doubtful: [] };
    return { missing: null, doubtful: doubtsOf(found, gpt) };
  } finally {
    closeSync(fd);
  }
}

/** The kernel and libblkid pass over a GPT that has room for partitions beyond the end of the disk: it is as if there were none. */
function missingOfTable({ disk, table }: ReadDisk, gpt: GptHeader | null): string | null {
  if (table.scheme !== "pmbr" || gpt === null || (gpt.lastUsable + 1) * SECTOR <= disk.size) return null;
  return `the partition table (GPT) is that of a disk of ${(gpt.alternate + 1) * SECTOR} bytes`;
}

function missingOfContent({ disk, table: { content } }: ReadDisk, read: Read): string | null {
  const size = content === null ? null : fileSystemSize(content.type, read(0, SUPERBLOCKS));
  return content === null || size === null || size <= disk.size
    ? null
    : `the ${content.type} in it takes ${size} bytes`;
}

function missingOfPartitions({ disk, table }: ReadDisk, read: Read): string | null {
  for (const partition of table.partitions) {
    const end = endOf(partition, disk.size, read);
    if (end > disk.size) return `the file system in partition ${partition.number} takes bytes up to ${end}`;
  }
  return null;
}

function doubtsOf({ disk, table }: ReadDisk, gpt: GptHeader | null): readonly string[] {
  const beyond = table.partitions.filter(({ offset, size }) => offset + size > disk.size);
  const hasNoCopy = gpt !== null && (gpt.alternate + 1) * SECTOR > disk.size;
  return [
    ...beyond.map(({ number }) => `partition ${number} ends beyond the end of the image`),
    ...(hasNoCopy ? ["the second copy of its partition table (GPT) is missing"] : []),
  ];
}

type Read = (offset: number, length: number) => Buffer;

const SECTOR = 512;

/** Where its file system ends on the disk; 0: there is none that says so. Libblkid looks into no partition that is not all there. */
function endOf({ offset, size: length, content }: Partition, size: number, read: Read): number {
  if (offset >= size || (content === null && offset + length <= size)) return 0;
  const head = read(offset, SUPERBLOCKS);
  const own = content === null ? anyFileSystemSize(head) : fileSystemSize(content.type, head);
  return own === null ? 0 : offset + own;
}

/** Sectors. */
interface GptHeader {
  readonly alternate: number;
  readonly lastUsable: number;
}

/** Null: there is none that is whole. */
function headerOf(sector: Buffer): GptHeader | null {
  if (sector.toString("latin1", 0, MARK.length) !== MARK) return null;
  const length = sector.readUInt32LE(12);
  if (length < HEADER_LEAST || length > SECTOR) return null;
  const summed = Buffer.from(sector.subarray(0, length)).fill(0, 16, 20);
  if (crc32(summed) !== sector.readUInt32LE(16)) return null;
  return { alternate: Number(sector.readBigUInt64LE(32)), lastUsable: Number(sector.readBigUInt64LE(48)) };
}

const MARK = "EFI PART";
const HEADER_LEAST = 92;

/** With zeros for what is not there. */
function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  let got = 0;
  while (got < length) {
    const count = readSync(fd, buffer, got, length - got, offset + got);
    if (count === 0) break;
    got += count;
  }
  return buffer;
}
