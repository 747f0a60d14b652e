import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { BerthError } from "../../errors.ts";
import { runCommand } from "../../host/command.ts";
import { isNeverWritten, NEVER_WRITTEN_HEAD } from "../../host/disk-image/superblock.ts";
import { readHead } from "../../sys/read-head.ts";
import { copyTree } from "../copy-tree.ts";
import type { Driver } from "../driver.ts";

const BLOCK = 512;
const WRITABLE = 0o222;

/** A disk image in a file NAME.raw. */
export const rawDriver: Driver = {
  name: "raw",
  type: "raw",
  suffix: ".raw",
  why: (fsType) => `a disk image in a file on ${fsType}`,

  read(path) {
    const { birthtimeMs, mtimeMs, mode, blocks, size } = statSync(path);
    const usage = blocks * BLOCK;
    return {
      readOnly: (mode & WRITABLE) === 0,
      created: birthtimeMs > 0 ? birthtimeMs : null,
      modified: mtimeMs,
      ...{ usage, usageExclusive: usage, limit: size, limitExclusive: size },
    };
  },

  isNeverWritten(path) {
    try {
      return isNeverWritten(readHead(path, NEVER_WRITTEN_HEAD));
    } catch {
      return false; // what can't be read is told of where it is used
    }
  },

  measure: async (path) => statSync(path).blocks * BLOCK,

  create: (path) => writeFileSync(path, "", { mode: 0o600, flag: "wx" }),

  async copy(from, to, signal, progress) {
    await copyTree(from, to, signal, { progress });
    makeOwn(to);
  },

  async snapshot(from, to, still, signal, progress) {
    await still.during(() => this.copy(from, to, signal, progress));
  },

  setReadOnly(path, readOnly) {
    const mode = statSync(path).mode & 0o777;
    chmodSync(path, readOnly ? mode & ~WRITABLE : mode | 0o200);
  },

  setLimit(path) {
    throw new BerthError(`${path} can't have a limit: a disk image is as large as it was made`, {
      kind: "NotSupported",
    });
  },
};

/** Makes `to` a copy of `from` as it is at this moment. False: the file system shares no blocks. */
export async function shareBlocks(from: string, to: string, signal: AbortSignal): Promise<boolean> {
  const { ok } = await runCommand("cp", ["-a", "--reflink=always", "-T", "--", from, to], { signal });
  if (ok) makeOwn(to);
  else rmSync(to, { force: true });
  return ok;
}

/** It is a machine's own, whoever may not write to what it was made of. */
function makeOwn(path: string): void {
  chmodSync(path, (statSync(path).mode & 0o777) | 0o200);
}
