import { bind, check, failedWith } from "./libc.ts";

const lseekCall = bind("long lseek(int fd, long offset, int whence)");
const copyFileRangeCall = bind(
  "long copy_file_range(int from, void *from_offset, int to, void *to_offset, size_t length, uint flags)",
);
const ioctlCall = bind("int ioctl(int fd, ulong request, long argument)");

const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FICLONE = 0x40049409;

export function seekTo(fd: number, offset: number): void {
  check(lseekCall(fd, offset, SEEK_SET), "lseek");
}

/** Where the next data begins, from `offset` on; null: there is none. */
export function nextData(fd: number, offset: number): number | null {
  const found = lseekCall(fd, offset, SEEK_DATA);
  return found < 0 && failedWith("ENXIO") ? null : check(found, "lseek SEEK_DATA");
}

/** Where they end; at the latest where the file does. Null: it has become so short that `offset` is behind its end. */
export function nextHole(fd: number, offset: number): number | null {
  const found = lseekCall(fd, offset, SEEK_HOLE);
  return found < 0 && failedWith("ENXIO") ? null : check(found, "lseek SEEK_HOLE");
}

/** FICLONE: both files share the data on disk. False: these two can't. */
export function shareData(from: number, to: number): boolean {
  return ioctlCall(to, FICLONE, from) === 0;
}

/** copy_file_range(2) at both files' own positions. Null: the kernel can't for these two. */
export function copyRange(from: number, to: number, length: number): number | null {
  const copied = copyFileRangeCall(from, null, to, null, length, 0);
  if (copied < 0 && failedWith("EXDEV", "EINVAL", "EOPNOTSUPP", "ENOSYS", "EPERM", "EBADF", "ETXTBSY")) return null;
  return check(copied, "copy_file_range");
}
