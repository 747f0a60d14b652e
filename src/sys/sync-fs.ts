import { closeSync, openSync } from "node:fs";
import { bindThreaded } from "./libc.ts";

const syncfsInThread = bindThreaded("int syncfs(int fd)");

/** A file system that is written to, open. What fails to be written from then on, `sync` tells, once. */
export interface SyncedFileSystem extends Disposable {
  /** syncfs(2) by a thread: all of it is on the disk then. One at a time. @throws SysError */
  sync(): Promise<void>;
}

/** That of `path`. */
export function openFileSystem(path: string): SyncedFileSystem {
  const fd = openSync(path, "r");
  return {
    sync: async () => {
      await syncfsInThread("syncfs", { path }, fd);
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}
