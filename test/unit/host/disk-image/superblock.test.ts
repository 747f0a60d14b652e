import { expect, test } from "vitest";
import {
  anyFileSystemSize,
  fileSystemSize,
  isNeverWritten,
  SUPERBLOCKS,
} from "../../../../src/host/disk-image/superblock.ts";

function ext4({ blocks = 1000, upper = 0, log = 2, features = 0 } = {}): Buffer {
  const head = Buffer.alloc(SUPERBLOCKS);
  head.writeUInt32LE(blocks, 1024 + 4);
  head.writeUInt32LE(log, 1024 + 24);
  head.writeUInt16LE(0xef53, 1024 + 56);
  head.writeUInt32LE(features, 1024 + 96);
  head.writeUInt32LE(upper, 1024 + 0x150);
  return head;
}

test("ext4: blocks of its size, of more than 32 bits where it says so", () => {
  expect(fileSystemSize("ext4", ext4())).toBe(4096 * 1000);
  expect(fileSystemSize("ext2", ext4({ log: 0, upper: 1 }))).toBe(1024 * 1000);
  expect(fileSystemSize("ext4", ext4({ upper: 1, features: 0x80 }))).toBe(4096 * (2 ** 32 + 1000));
});

test("what is odd, short or of another type says nothing", () => {
  expect(fileSystemSize("ext4", ext4({ log: 7 }))).toBeNull();
  expect(fileSystemSize("xfs", ext4())).toBeNull();
  expect(fileSystemSize("vfat", ext4())).toBeNull();
  expect(fileSystemSize("toString", ext4())).toBeNull();
  for (const type of ["ext4", "xfs", "btrfs", "squashfs", "erofs"])
    expect(fileSystemSize(type, Buffer.alloc(0))).toBeNull();
});

test("of a type that nobody has told: only where it is one alone", () => {
  expect(anyFileSystemSize(ext4())).toBe(4096 * 1000);
  const both = ext4();
  both.write("XFSB");
  expect(anyFileSystemSize(both)).toBeNull();
  expect(isNeverWritten(both)).toBe(false);
});
