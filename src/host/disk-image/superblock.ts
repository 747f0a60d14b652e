/** What a file system says of itself in its first block. Pure; nothing there is trusted, and what is odd says nothing. */

/** As much of a file system as is looked at here. */
export const SUPERBLOCKS = 68 << 10;

/** How many bytes of a disk it takes, by what libblkid calls it. Those alone that the kernel mounts only where all of that is there, and erofs, which has nothing to spare. */
const SIZES: Readonly<Record<string, (head: Buffer) => number | null>> = {
  ...{ ext2: sizeOfExt, ext3: sizeOfExt, ext4: sizeOfExt },
  xfs: (head) => (isAt(head, 0, "XFSB") ? head.readUInt32BE(4) * Number(head.readBigUInt64BE(8)) : null),
  // Of several disks that one has of its own.
  btrfs: (head) => (isAt(head, 0x10040, "_BHRfS_M") ? Number(head.readBigUInt64LE(0x100d1)) : null),
  squashfs: (head) =>
    isAt(head, 0, SQUASHFS) && head.readUInt16LE(28) === 4 ? Number(head.readBigUInt64LE(40)) : null,
  erofs: (head) => (isAt(head, 1024, EROFS) ? head.readUInt32LE(1024 + 36) * 2 ** head.readUInt8(1024 + 12) : null),
};

const SQUASHFS = "hsqs";
const EROFS = "\xe2\xe1\xf5\xe0";
const EXT_MAGIC = 0xef53;
const EXT_64BIT = 0x80;
const EXT_LOG_MAX = 6;

/** Bytes; null: it does not say. `head`: its first bytes, SUPERBLOCKS of them where there are so many. */
export function fileSystemSize(type: string, head: Buffer): number | null {
  const padded = Buffer.concat([head], SUPERBLOCKS);
  return Object.hasOwn(SIZES, type) ? (SIZES[type]?.(padded) ?? null) : null;
}

/** The same of one that nobody has told the type of. Null also where it could be two. */
export function anyFileSystemSize(head: Buffer): number | null {
  const sizes = ["ext4", "xfs", "btrfs", "squashfs", "erofs"].flatMap((type) => fileSystemSize(type, head) ?? []);
  return sizes.length === 1 ? (sizes[0] ?? null) : null;
}

/** Whether it is of a kind that nobody can write to. */
export function isNeverWritten(head: Buffer): boolean {
  return isAt(head, 0, SQUASHFS) || isAt(head, 1024, EROFS);
}

/** As much as isNeverWritten looks at. */
export const NEVER_WRITTEN_HEAD = 1028;

function sizeOfExt(head: Buffer): number | null {
  const block = head.subarray(1024);
  const log = block.readUInt32LE(24);
  if (block.readUInt16LE(56) !== EXT_MAGIC || log > EXT_LOG_MAX) return null;
  const upper = (block.readUInt32LE(96) & EXT_64BIT) === 0 ? 0 : block.readUInt32LE(0x150);
  return (upper * 2 ** 32 + block.readUInt32LE(4)) * 2 ** (10 + log);
}

function isAt(head: Buffer, offset: number, mark: string): boolean {
  return head.toString("latin1", offset, offset + mark.length) === mark;
}
