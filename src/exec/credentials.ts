import { chownSync, closeSync, constants, fchownSync, openSync, writeSync } from "node:fs";

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Fills a new file system with a file each that only `owner`, the machine's root, may read. Their ids are file names. */
export function writeCredentials(mount: number, credentials: ReadonlyMap<string, Buffer>, owner: number): void {
  const directory = `/proc/self/fd/${mount}`;
  for (const [id, bytes] of credentials) {
    const file = openSync(`${directory}/${id}`, CREATE, 0o400);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      fchownSync(file, owner, owner);
    } finally {
      closeSync(file);
    }
  }
  chownSync(`${directory}/.`, owner, owner);
}
