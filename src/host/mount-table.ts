import { closeSync, openSync, readFileSync } from "node:fs";
import { mountIdOf } from "../sys/mount-id.ts";
import { hasException } from "../sys/poll.ts";
import { findMount, type Mount, parseMountinfo } from "./mountinfo.ts";

const PATH = "/proc/self/mountinfo";

/** The file stays open: poll(2) of it tells whether mounts have come or gone in this process's namespace since the last time. */
let kept: { readonly fd: number; readonly text: string } | undefined;

/**
 * The text of /proc/self/mountinfo as it was when mounts last came or went: which there are, by id, and of what type. For the rest,
 * what is read-only or where a directory has been renamed, see readMounts: no event tells of that. Reading it takes the kernel 40 us
 * where there are 30 mounts.
 */
export function keptMountinfo(): string {
  if (kept !== undefined && !hasException(kept.fd)) return kept.text;
  const fd = kept?.fd ?? openSync(PATH, "r");
  kept = undefined; // the event has been told: what can't be read now is to be read the next time
  try {
    kept = { fd, text: readFileSync(PATH, "utf8") };
    return kept.text;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** What an fd is on; null: a mount of another namespace. Asks no file system. */
export function mountOfFd(fd: number): Mount | null {
  return findMount(keptMountinfo(), mountIdOf(fd));
}

/** As they are now. */
export function readMounts(): readonly Mount[] {
  return parseMountinfo(readFileSync(PATH, "utf8"));
}
