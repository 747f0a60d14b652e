import { mkdir, open, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { treeCopierPath } from "../host/installation.ts";
import { CONFINED, mountOf } from "../host/view-mounts.ts";
import { visible } from "../spec/quote.ts";
import { MOUNT_ATTR_RDONLY } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { ARCH } from "../sys/libc.ts";
import { CopyBound } from "./copy-bound.ts";
import { FileProgress, type OnCopied, TreeProgress } from "./copy-progress.ts";

/** Threads at most: in one file system more wait for each other. */
const THREADS_MAX = 5;

export interface CopyTreeOptions {
  /** Without what is mounted in the tree. */
  readonly oneFileSystem?: boolean;
  readonly progress?: OnCopied | undefined;
}

/**
 * Copies a tree to a path that does not exist, or is a directory, in which what is there stays: owners, modes, times, hard links, holes, ACLs and extended
 * attributes (security.capability of ping) included; shares the blocks where the file system can (btrfs, xfs). What is gone meanwhile is
 * not copied, and no link is followed, whoever changes the tree.
 *
 * A directory by our own program, as cp(1) takes more than twice as long (test/bench/RESULTS.md): src/tree-copier/tree-copier.c.
 */
export async function copyTree(
  from: string,
  to: string,
  signal: AbortSignal,
  options: CopyTreeOptions = {},
): Promise<void> {
  const found = await stat(from);
  if (found.isDirectory()) await copyDirectory(from, to, signal, options);
  else await copyFile(from, to, found.blocks, signal, options.progress);
}

async function copyDirectory(
  from: string,
  to: string,
  signal: AbortSignal,
  { oneFileSystem = false, progress }: CopyTreeOptions,
): Promise<void> {
  await makeTarget(to);
  await using opened = new AsyncDisposableStack();
  const { source, isApart } = await openSource(from, opened);
  const bound = opened.use(new CopyBound(from, to, oneFileSystem));
  const shown = progress === undefined ? null : opened.use(new TreeProgress(from, oneFileSystem, progress));
  const said = new Said((entries, blocks) => shown?.take(entries, blocks));
  const threads = Math.min(THREADS_MAX, availableParallelism());
  const words = [`${threads}`, ["n", oneFileSystem ? "x" : "", shown === null ? "" : "p", isApart ? "" : "d"].join("")];
  const { ok, status, tail } = await runCommand(treeCopierPath(ARCH), words, {
    cwd: to,
    stdin: source,
    signal: AbortSignal.any([signal, bound.signal]),
    onOutput: (chunk) => said.take(chunk),
  });
  if (!ok) throw failed(from, to, said.fault ?? ["tree-copier", status, ...tail.slice(-1)].join(" "));
  shown?.end();
}

async function makeTarget(to: string): Promise<void> {
  try {
    await mkdir(to, 0o700);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
}

interface Source {
  readonly source: number;
  readonly isApart: boolean;
}

/** By a mount of its own, where that can be (it is apart then): in it nothing is a device, and nothing that is read is noted. */
async function openSource(from: string, opened: AsyncDisposableStack): Promise<Source> {
  const mount = mountApart(from);
  if (mount === null) return { source: opened.use(await open(from, O_DIRECTORY)).fd, isApart: false };
  opened.defer(async () => closeQuietly(mount));
  return { source: opened.use(await open(`/proc/self/fd/${mount}`, O_DIRECTORY)).fd, isApart: true };
}

/** Null: it lies nowhere on this host (a mount that is attached nowhere, a directory of another mount namespace). */
function mountApart(from: string): number | null {
  try {
    return mountOf(from, CONFINED | MOUNT_ATTR_RDONLY, true);
  } catch (error) {
    if (error instanceof SysError && error.code === "EINVAL") return null;
    throw error;
  }
}

/** What it says: see there. */
class Said {
  fault: SysError | undefined;
  readonly #onProgress: (entries: number, blocks: number) => void;
  #rest = "";

  constructor(onProgress: (entries: number, blocks: number) => void) {
    this.#onProgress = onProgress;
  }

  take(chunk: Buffer): void {
    const records = (this.#rest + chunk.toString("latin1")).split("\0");
    this.#rest = records.pop() ?? "";
    for (const record of records) {
      const [, entries, blocks] = /^P (\d+) (\d+)$/.exec(record) ?? [];
      const [, errno, call = "", path = ""] = /^E (\d+) (\S+) (.*)$/s.exec(record) ?? [];
      if (entries !== undefined) this.#onProgress(Number(entries), Number(blocks));
      if (errno === undefined) continue;
      const subject = visible(Buffer.from(path, "latin1").toString("utf8"));
      this.fault ??= new SysError(call, Number(errno), { subject });
    }
  }
}

function failed(from: string, to: string, fault: SysError | string): BerthError {
  const [text, cause] = typeof fault === "string" ? [fault, undefined] : [fault.message, fault];
  const isFull = cause?.code === "ENOSPC" || text.includes("No space left on device");
  return new BerthError(`cannot copy the tree ${from}: ${shortened(text)}`, {
    // Of the store: the workspace in it that the copy was made in is gone by the time this is read.
    hint: isFull ? `make room on the file system of ${dirname(to).replace(/\/\.berth-.*$/, "")}` : cause?.hint,
    cause,
  });
}

const SHOWN = 240;
/** What is wrong stands at the end of what cp(1) says, behind two paths, of which a shell's quoting makes four times as much. */
const LINE_MAX = 2 * 4 * 4096 + 256;

function shortened(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN / 2)}...${text.slice(-SHOWN / 2)}`;
}

/** A disk: of one file cp(1) is as quick as the disk is. */
async function copyFile(
  from: string,
  to: string,
  blocks: number,
  signal: AbortSignal,
  progress: OnCopied | undefined,
): Promise<void> {
  using shown = progress === undefined ? null : new FileProgress(to, blocks, progress);
  const words = ["-a", "--reflink=auto", "-T", "--", from, to];
  const { ok, status, tail } = await runCommand("cp", words, { signal, lineMax: LINE_MAX });
  if (!ok) throw failed(from, to, `cp ${status}: ${tail.at(-1) ?? ""}`);
  shown?.end();
}
