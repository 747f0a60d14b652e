import { constants, fstatSync, openSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { closeQuietly } from "./files.ts";
import { bind, check, failedWith, pinned } from "./libc.ts";
import { makeFileSystem } from "./mounts.ts";

/** Loop devices, by the requests and layouts of linux/loop.h: losetup(8) need not be there, nor udev. */
const ioctlCall = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlNumberCall = bind("int ioctl(int fd, ulong request, long argument)");
const mknodCall = bind("int mknod(const char *path, uint mode, ulong device)");

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const BLKGETSIZE64 = 0x80081272;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;

/** Where struct loop_info64 begins in struct loop_config, and its fields there. */
const INFO = 8;
const INFO_SIZE = 232;
const CONFIG_SIZE = INFO + INFO_SIZE + 64;
const AT = { offset: 24, limit: 32, flags: 52, name: 56 } as const;
const NAME_MAX = 63;

const SECTOR = 512;
const CONTROL = { type: constants.S_IFCHR, major: 10, minor: 237 } as const;
const MAJOR = 7;
/** Somebody else may take the device that was free. */
const TRIES = 100;

export interface LoopRange {
  /** Bytes: where it begins in the file, and how many there are; null: up to its end. */
  readonly offset: number;
  readonly size: number | null;
  readonly readOnly: boolean;
}

/** A block device whose content is a part of a file. It goes when nobody has it open or mounted any more, however they end. */
export interface LoopDevice extends Disposable {
  readonly fd: number;
  /** Its path, for children as well; in a place of our own where this host has no such node. */
  readonly path: string;
}

/** @throws SysError */
export function attachLoop(file: number, name: string, { offset, size, readOnly }: LoopRange): LoopDevice {
  const config = pinned(CONFIG_SIZE);
  config.writeUInt32LE(file, 0);
  // As the disk is laid out for, whatever the file lies on: else small blocks of a file system would be none.
  config.writeUInt32LE(SECTOR, 4);
  config.writeBigUInt64LE(BigInt(offset), INFO + AT.offset);
  config.writeBigUInt64LE(BigInt(size ?? 0), INFO + AT.limit);
  // Direct, so that nothing is in memory twice; the kernel goes without it where the file system can't.
  const flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | (readOnly ? LO_FLAGS_READ_ONLY : 0);
  config.writeUInt32LE(flags, INFO + AT.flags);
  config.write(name.slice(0, NAME_MAX), INFO + AT.name, NAME_MAX);
  const control = openNode("/dev/loop-control", CONTROL, constants.O_RDWR);
  try {
    for (let tried = 1; ; tried++) {
      const number = check(ioctlNumberCall(control.fd, LOOP_CTL_GET_FREE, 0), "ioctl LOOP_CTL_GET_FREE");
      const device = openLoop(number, readOnly);
      if (ioctlCall(device.fd, LOOP_CONFIGURE, config) >= 0) return device;
      const taken = failedWith("EBUSY");
      try {
        if (!taken || tried === TRIES) check(-1, "ioctl LOOP_CONFIGURE", { path: name });
      } finally {
        device[Symbol.dispose]();
      }
    }
  } finally {
    control[Symbol.dispose]();
  }
}

/** Bytes of a block device. */
export function deviceSize(fd: number): number {
  const size = pinned(8);
  check(ioctlCall(fd, BLKGETSIZE64, size), "ioctl BLKGETSIZE64", { subject: `fd ${fd}` });
  return Number(size.readBigUInt64LE());
}

function openLoop(number: number, readOnly: boolean): LoopDevice {
  const node = { type: constants.S_IFBLK, major: MAJOR, minor: number };
  return openNode(`/dev/loop${number}`, node, readOnly ? constants.O_RDONLY : constants.O_RDWR);
}

interface Node {
  readonly type: number;
  readonly major: number;
  readonly minor: number;
}

/** In a container without udev there is none of most of them. */
function openNode(path: string, node: Node, flags: number): LoopDevice {
  try {
    return opened(path, node, flags);
  } catch (error) {
    if (!["ENOENT", "ENXIO", "EACCES"].includes(errorCode(error) ?? "")) throw error;
    return makeNode(node, flags, error);
  }
}

function opened(path: string, node: Node, flags: number): LoopDevice {
  const fd = openSync(path, flags | constants.O_NONBLOCK);
  const own = path.startsWith("/proc/") ? `/proc/${process.pid}/fd/${fd}` : path;
  if (isNode(fd, node)) return { fd, path: own, [Symbol.dispose]: () => closeQuietly(fd) };
  closeQuietly(fd);
  throw Object.assign(new Error(`${path} is another device`), { code: "ENXIO" });
}

function isNode(fd: number, { type, major, minor }: Node): boolean {
  const stat = fstatSync(fd);
  return (stat.mode & constants.S_IFMT) === type && stat.rdev === device(major, minor);
}

/** On a file system of its own that nothing is attached to. @throws `missing` where that can't be */
function makeNode(node: Node, flags: number, missing: unknown): LoopDevice {
  const directory = makeFileSystem("tmpfs", [["size", "64k"]], 0);
  const own = `/proc/self/fd/${directory}/node`;
  try {
    if (mknodCall(own, node.type | 0o600, device(node.major, node.minor)) < 0) throw missing;
    return opened(own, node, flags);
  } finally {
    closeQuietly(directory);
  }
}

/** As makedev(3). */
function device(major: number, minor: number): number {
  return ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & ~0xff) << 12);
}
