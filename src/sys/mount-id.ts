import { AT_EMPTY_PATH, AT_STATX_DONT_SYNC } from "./constants.ts";
import { bind, check, pinned } from "./libc.ts";

const statxCall = bind("int statx(int dirfd, const char *path, int flags, uint mask, void *result)");

const STATX_MNT_ID = 0x1000;
/** Since Linux 6.8: one that no later mount will have. */
const STATX_MNT_ID_UNIQUE = 0x4000;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
const SIZE_OF_STATX = 256;
const MOUNT_ID_AT = 144;

/** The mount that an fd is on. */
export interface MountOf {
  /** Its id in decimal, as this kernel tells mounts apart. */
  readonly id: string;
  /** The fd is what is mounted, not something below it. */
  readonly isRoot: boolean;
}

/** The id in /proc/self/mountinfo of the mount that an fd is on. */
export function mountIdOf(fd: number): number {
  return Number(statx(fd, STATX_MNT_ID).readBigUInt64LE(MOUNT_ID_AT));
}

const fstatfsCall = bind("int fstatfs(int fd, void *result)");
const SIZE_OF_STATFS = 120;
const ST_RDONLY = 1n;

/** Whether nothing can be written at an fd, for its mount or its file system is read-only: fstatfs(2), f_flags. */
export function isReadOnlyAt(fd: number): boolean {
  const result = pinned(SIZE_OF_STATFS);
  check(fstatfsCall(fd, result), "fstatfs", { subject: `fd ${fd}` });
  return (result.readBigUInt64LE(80) & ST_RDONLY) !== 0n;
}

export function mountOf(fd: number): MountOf {
  const result = statx(fd, STATX_MNT_ID | STATX_MNT_ID_UNIQUE);
  return {
    id: result.readBigUInt64LE(MOUNT_ID_AT).toString(),
    isRoot: (result.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n,
  };
}

/** struct statx of an fd, whose file system, a server's perhaps, is not asked: of what is mounted the kernel knows itself. */
function statx(fd: number, mask: number): Buffer {
  const result = pinned(SIZE_OF_STATX);
  check(statxCall(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, result), "statx", { subject: `fd ${fd}` });
  return result;
}
