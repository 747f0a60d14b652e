import { chownSync, closeSync, constants, fchownSync, lchownSync, openSync, symlinkSync, writeSync } from "node:fs";
import { makeFileSystem, setMountAttributes } from "../sys/mounts.ts";
import { mountAttributes } from "./mount-attributes.ts";

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** What is being put into a new file system. Names are single file names. */
export interface Ramfs {
  file(name: string, bytes: Buffer, mode: number): void;
  link(name: string, target: string): void;
}

/**
 * A file system in memory that is never swapped, detached and read-only, all of it owned by `owner`: for what the host
 * hands to a machine and is in no plan. `opened` gets its fd at once, so that it is not lost if something fails.
 * @throws the errno error of what could not be made
 */
export function makeRamfs(
  mode: string,
  owner: number,
  opened: (fd: number) => void,
  fill: (into: Ramfs) => void,
): void {
  const mount = makeFileSystem("ramfs", [["mode", mode]], mountAttributes(["nosuid", "nodev", "noexec"]));
  opened(mount);
  const directory = `/proc/self/fd/${mount}`;
  fill({
    file: (name, bytes, fileMode) => writeOwned(`${directory}/${name}`, bytes, fileMode, owner),
    link: (name, target) => {
      symlinkSync(target, `${directory}/${name}`);
      lchownSync(`${directory}/${name}`, owner, owner);
    },
  });
  chownSync(`${directory}/.`, owner, owner);
  setMountAttributes(mount, { set: mountAttributes(["ro"]) }, false, "the file system in memory");
}

function writeOwned(path: string, bytes: Buffer, mode: number, owner: number): void {
  const file = openSync(path, CREATE, mode);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    fchownSync(file, owner, owner);
  } finally {
    closeSync(file);
  }
}
