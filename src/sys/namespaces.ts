import { statfsSync } from "node:fs";
import { bind, check } from "./libc.ts";

const ioctlCall = bind("int ioctl(int fd, ulong request, long argument)");

const NSFS_MAGIC = 0x6e736673; // linux/magic.h
const NS_GET_NSTYPE = 0xb703; // linux/nsfs.h

/** Which kind of namespace an fd refers to, as its CLONE_NEW* flag (ioctl_ns(2)); null: it is another file. */
export function namespaceType(fd: number): number | null {
  if (statfsSync(`/proc/self/fd/${fd}`).type !== NSFS_MAGIC) return null;
  return check(ioctlCall(fd, NS_GET_NSTYPE, 0), "ioctl NS_GET_NSTYPE");
}
