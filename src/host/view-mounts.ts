import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_PRIVATE,
} from "../sys/constants.ts";
import { closeQuietly } from "../sys/files.ts";
import { cloneTree, makeFileSystem, setMountAttributes } from "../sys/mounts.ts";

/** What views are made of: detached mounts. Their fds are the caller's. */

/** What is not trusted: nothing of it is run, or opened as a device. */
export const CONFINED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
/** The host's programs. */
export const PROGRAMS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY;

/** An empty root directory with little room. `name` is for tables of mounts. */
export function makeViewRoot(name: string): number {
  const options = { source: name, mode: "0755", size: "64k" };
  return makeFileSystem("tmpfs", Object.entries(options), CONFINED);
}

/** What is mounted at a path, with what is mounted below it if `recursive`. What is mounted later is seen on one side only. */
export function mountOf(path: string, attributes: number, recursive = false): number {
  const mount = cloneTree(path, recursive);
  try {
    setMountAttributes(mount, { set: attributes, propagation: MS_PRIVATE }, recursive, path);
    return mount;
  } catch (error) {
    closeQuietly(mount);
    throw error;
  }
}
