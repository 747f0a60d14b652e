import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { BerthError } from "../../errors.ts";
import { runCommand } from "../../host/command.ts";
import { isNeverWritten, NEVER_WRITTEN_HEAD } from "../../host/disk-image/superblock.ts";
import { readHead } from "../../sys/read-head.ts";
import { copyTree } from "../copy-tree.ts";
import type { Driver } from "../driver.ts";
import { sharesBlocks, sharesBlocksAt } from "../file-systems.ts";

const BLOCK = 512;
const WRITABLE = 0o222;

/** A disk image in a file NAME.raw. */
export const rawDriver: Driver = {
  name: "raw",
  type: "raw",
  suffix: ".raw",
  why: (fsType) =>
    `a disk image in a file on ${fsType}${sharesBlocks(fsType) ? ": a clone shares its blocks" : ", which shares no blocks: a clone is a copy"}`,

  read(path) {
    const { birthtimeMs, mtimeMs, mode, blocks, size } = statSync(path);
    const usage = blocks * BLOCK;
    return {
      readOnly: (mode & WRITABLE) === 0,
      created: birthtimeMs > 0 ? birthtimeMs : null,
      modified: mtimeMs,
      ...{ usage, limit: size, limitExclusive: size },
      // Else it has to be counted.
      ...(sharesBlocksAt(path) ? {} : { usageExclusive: usage }),
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

  async measureOwn(path, signal) {
    const usage = statSync(path).blocks * BLOCK;
    return sharesBlocksAt(path) ? Math.max(0, usage - (await sharedBytes(path, signal))) : usage;
  },

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

/** Of a file that has blocks in common with others, by filefrag(8), which reads what the kernel says of each extent (FIEMAP_EXTENT_SHARED). */
async function sharedBytes(path: string, signal: AbortSignal): Promise<number> {
  let blocks = 0;
  const { ok, status, tail } = await runCommand("filefrag", ["-v", `-b${BLOCK}`, "--", path], {
    signal,
    // number: first.. last of the file: first.. last of the disk: length: (expected:) flags
    onLine: (line) => {
      const [, length, flags = ""] = /^ *\d+:.*\.\..*\.\..*: +(\d+):(.*)$/.exec(line) ?? [];
      if (/\bshared\b/.test(flags)) blocks += Number(length);
    },
  });
  if (!ok) throw new BerthError(`cannot count ${path}: filefrag ${tail.at(-1) ?? status}`);
  return blocks * BLOCK;
}

/** It is a machine's own, whoever may not write to what it was made of. */
function makeOwn(path: string): void {
  chmodSync(path, (statSync(path).mode & 0o777) | 0o200);
}
