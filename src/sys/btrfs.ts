import { closeSync, constants, openSync, statfsSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { address, bind, bindThreaded, check, failedWith, pinned } from "./libc.ts";

/** Subvolumes of btrfs, by the requests and layouts of linux/btrfs.h: btrfs-progs need not be installed. */
const ioctlCall = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlInThread = bindThreaded("int ioctl(int fd, ulong request, void *argument)");

const START_SYNC = 0x80089418;
const SUBVOL_CREATE = 0x5000940e;
const SNAP_DESTROY = 0x5000940f;
const SNAP_CREATE_V2 = 0x50009417;
const SUBVOL_CREATE_V2 = 0x50009418;
const SUBVOL_GETFLAGS = 0x80089419;
const SUBVOL_SETFLAGS = 0x4008941a;
const FS_INFO = 0x8400941f;
const QGROUP_LIMIT = 0x8030942b;
const GET_SUBVOL_INFO = 0x81f8943c;
const GET_SUBVOL_ROOTREF = 0xd000943d;
const INO_LOOKUP_USER = 0xd000943e;

const SUBVOL_RDONLY = 2n;
const SUBVOL_QGROUP_INHERIT = 4n;
const QGROUP_LIMIT_MAX_RFER = 1n;
const SUPER_MAGIC = 0x9123683e;
/** Inode number of every subvolume's root directory. */
const ROOT_INODE = 256;
const NAME_MAX = 255;
const ARGUMENT = 4096;

export function isBtrfs(path: string): boolean {
  return statfsSync(path).type === SUPER_MAGIC;
}

/** Whether `path` is a subvolume's root directory. */
export function isSubvolume(path: string): boolean {
  return statSync(path).ino === ROOT_INODE && isBtrfs(path);
}

/** A new, empty one. `group`: a quota group that it is to be in. */
export function createSubvolume(path: string, group: bigint | null = null): void {
  withDirectory(dirname(path), (fd) => {
    if (group === null) {
      call(fd, SUBVOL_CREATE, namedArgument(basename(path), 8), "BTRFS_IOC_SUBVOL_CREATE", path);
      return;
    }
    const { argument, inherit } = inGroup(namedArgument(basename(path), 56), group);
    call(fd, SUBVOL_CREATE_V2, argument, "BTRFS_IOC_SUBVOL_CREATE_V2", path);
    inherit.fill(0); // it was there until now
  });
}

/** `inherit` has to live as long as the call does, which is given its address. */
function inGroup(argument: Buffer, group: bigint): { readonly argument: Buffer; readonly inherit: Buffer } {
  const inherit = pinned(80);
  inherit.writeBigUInt64LE(1n, 8);
  inherit.writeBigUInt64LE(group, 72);
  argument.writeBigUInt64LE(SUBVOL_QGROUP_INHERIT, 16);
  argument.writeBigUInt64LE(BigInt(inherit.length), 24);
  argument.writeBigUInt64LE(address(inherit), 32);
  return { argument, inherit };
}

/**
 * Makes `name` in the directory `parent` a snapshot of `source` (fds, which stay open until then), without the
 * subvolumes in it. The kernel writes all of its transaction to the disk by the way, so a thread waits for that.
 * `group`: as of a new one.
 */
export async function snapshotSubvolume(
  source: number,
  parent: number,
  name: string,
  group: bigint | null = null,
): Promise<void> {
  const argument = namedArgument(name, 56);
  argument.writeBigInt64LE(BigInt(source), 0);
  const kept = group === null ? null : inGroup(argument, group);
  await ioctlInThread("ioctl BTRFS_IOC_SNAP_CREATE_V2", { path: name }, parent, SNAP_CREATE_V2, argument);
  kept?.inherit.fill(0);
}

/** It is gone at once, its blocks are free a little later. Fails with ENOTEMPTY where others are in it. */
export function destroySubvolume(path: string): void {
  withDirectory(dirname(path), (fd) => {
    call(fd, SNAP_DESTROY, namedArgument(basename(path), 8), "BTRFS_IOC_SNAP_DESTROY", path);
  });
}

export interface SubvolumeInfo {
  /** Also of its quota group. */
  readonly id: bigint;
  readonly uuid: string;
  /** Of what it is a snapshot of; zeros for none. */
  readonly parentUuid: string;
  /** ms since the epoch: of its making, and of the last change in it. */
  readonly created: number;
  readonly changed: number;
  readonly readOnly: boolean;
  /** Of its file system, as /sys/fs/btrfs has it. */
  readonly fileSystem: string;
}

export function readSubvolume(path: string): SubvolumeInfo {
  return withDirectory(path, (fd) => {
    const info = call(fd, GET_SUBVOL_INFO, pinned(504), "BTRFS_IOC_GET_SUBVOL_INFO", path);
    const flags = call(fd, SUBVOL_GETFLAGS, pinned(8), "BTRFS_IOC_SUBVOL_GETFLAGS", path);
    const fileSystem = fileSystemOf(fd, path);
    const time = (at: number): number => Number(info.readBigUInt64LE(at)) * 1000 + info.readUInt32LE(at + 8) / 1e6;
    return {
      id: info.readBigUInt64LE(0),
      uuid: info.toString("hex", 0x128, 0x138),
      parentUuid: info.toString("hex", 0x138, 0x148),
      changed: time(0x178),
      created: time(0x188),
      readOnly: (flags.readBigUInt64LE() & SUBVOL_RDONLY) !== 0n,
      fileSystem,
    };
  });
}

/** Of the one that a file is in. */
export function subvolumeId(fd: number, path: string): bigint {
  return call(fd, GET_SUBVOL_INFO, pinned(504), "BTRFS_IOC_GET_SUBVOL_INFO", path).readBigUInt64LE(0);
}

/** Its id, as sysfs has it. */
export function fileSystemOf(fd: number, path: string): string {
  const id = call(fd, FS_INFO, pinned(1024), "BTRFS_IOC_FS_INFO", path).toString("hex", 16, 32);
  return id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export function setSubvolumeReadOnly(path: string, readOnly: boolean): void {
  withDirectory(path, (fd) => {
    const flags = call(fd, SUBVOL_GETFLAGS, pinned(8), "BTRFS_IOC_SUBVOL_GETFLAGS", path);
    const before = flags.readBigUInt64LE();
    flags.writeBigUInt64LE(readOnly ? before | SUBVOL_RDONLY : before & ~SUBVOL_RDONLY);
    call(fd, SUBVOL_SETFLAGS, flags, "BTRFS_IOC_SUBVOL_SETFLAGS", path);
  });
}

/**
 * Bytes that it and what it shares may take; null: no limit. Quotas have to be on. Asked for at the directory that it is in: one
 * that has reached its limit has no room for what the kernel writes down for the subvolume of the fd.
 */
export function limitSubvolume(path: string, limit: number | null): void {
  const { id, fileSystem } = readSubvolume(path);
  const parent = dirname(path);
  const at = isBtrfs(parent) && withDirectory(parent, (fd) => fileSystemOf(fd, parent)) === fileSystem ? parent : path;
  withDirectory(at, (fd) => {
    const argument = pinned(48);
    argument.writeBigUInt64LE(id, 0);
    argument.writeBigUInt64LE(QGROUP_LIMIT_MAX_RFER, 8);
    argument.writeBigUInt64LE(limit === null ? 2n ** 64n - 1n : BigInt(limit), 16);
    call(fd, QGROUP_LIMIT, argument, "BTRFS_IOC_QGROUP_LIMIT", path);
  });
}

/** Has the kernel bring all of the file system to the disk from now on, what its quotas allow as well; nobody waits for it. */
export function startSync(directory: string): void {
  withDirectory(directory, (fd) => call(fd, START_SYNC, pinned(8), "BTRFS_IOC_START_SYNC", directory));
}

/** Paths of the subvolumes in a subvolume (an fd of its root), relative to it; not of those in these. */
export function nestedSubvolumes(fd: number): readonly string[] {
  const found: string[] = [];
  for (let least = 0n; ; ) {
    const list = pinned(ARGUMENT);
    list.writeBigUInt64LE(least, 0);
    // EOVERFLOW: there are more, from the number on that it leaves in its first field.
    const more = ioctlCall(fd, GET_SUBVOL_ROOTREF, list) < 0;
    if (more && !failedWith("EOVERFLOW")) check(-1, "ioctl BTRFS_IOC_GET_SUBVOL_ROOTREF", { subject: `fd ${fd}` });
    const count = list.readUInt8(0xff8);
    for (let index = 0; index < count; index++) {
      const lookup = pinned(ARGUMENT);
      list.copy(lookup, 8, 8 + index * 16, 16 + index * 16); // treeid
      list.copy(lookup, 0, 16 + index * 16, 24 + index * 16); // dirid
      call(fd, INO_LOOKUP_USER, lookup, "BTRFS_IOC_INO_LOOKUP_USER", `fd ${fd}`);
      found.push(textAt(lookup, 0x110) + textAt(lookup, 0x10));
    }
    const next = list.readBigUInt64LE(0);
    if (!more || count === 0 || next <= least) return found;
    least = next;
  }
}

function textAt(buffer: Buffer, start: number): string {
  return buffer.toString("utf8", start, buffer.indexOf(0, start));
}

function namedArgument(name: string, at: number): Buffer {
  const argument = pinned(ARGUMENT);
  if (Buffer.byteLength(name) > NAME_MAX) throw new Error(`a name of ${Buffer.byteLength(name)} bytes`);
  argument.write(name, at);
  return argument;
}

export function call(fd: number, request: number, argument: Buffer, what: string, path: string): Buffer {
  check(ioctlCall(fd, request, argument), `ioctl ${what}`, { path });
  return argument;
}

export function withDirectory<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
