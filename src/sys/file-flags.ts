import { closeSync, constants, openSync } from "node:fs";
import { FS_IMMUTABLE_FL, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL } from "./constants.ts";
import { bind, check, failedWith, pinned } from "./libc.ts";

const ioctlCall = bind("int ioctl(int fd, ulong request, void *argument)");

/** Whether a directory has the immutable flag of chattr(1); false as well where its file system has no flags. */
export function isImmutable(directory: string): boolean {
  return withFlags(directory, (_fd, flags) => flags !== null && (flags & FS_IMMUTABLE_FL) !== 0);
}

/** Sets or clears that flag. False: the file system has none. */
export function setImmutable(directory: string, on: boolean): boolean {
  return setFlag(directory, FS_IMMUTABLE_FL, on);
}

/** The same of `T`: what is in the directory has nothing to do with each other (ext4). */
export function setTopOfHierarchies(directory: string): boolean {
  return setFlag(directory, FS_TOPDIR_FL, true);
}

function setFlag(directory: string, flag: number, on: boolean): boolean {
  return withFlags(directory, (fd, flags) => {
    if (flags === null) return false;
    const wanted = on ? flags | flag : flags & ~flag;
    if (wanted === flags) return true;
    const argument = pinned(8);
    argument.writeInt32LE(wanted);
    const result = ioctlCall(fd, FS_IOC_SETFLAGS, argument);
    if (result < 0 && failedWith("ENOTTY", "EOPNOTSUPP", "EINVAL")) return false;
    check(result, "ioctl FS_IOC_SETFLAGS", { path: directory });
    return true;
  });
}

/** `flags`: null where the file system has none (ioctl_iflags(2)). */
function withFlags<T>(directory: string, use: (fd: number, flags: number | null) => T): T {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const argument = pinned(8);
    const result = ioctlCall(fd, FS_IOC_GETFLAGS, argument);
    if (result < 0 && failedWith("ENOTTY", "EOPNOTSUPP", "EINVAL")) return use(fd, null);
    check(result, "ioctl FS_IOC_GETFLAGS", { path: directory });
    return use(fd, argument.readInt32LE());
  } finally {
    closeSync(fd);
  }
}
