import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { BerthError } from "../errors.ts";
import { type CommandOptions, type CommandResult, runCommand } from "../host/command.ts";
import { runInView } from "../host/run-in-view.ts";
import type { View } from "../host/view-image.ts";
import { CopyBound } from "./copy-bound.ts";
import { DividedTree } from "./copy-parts.ts";
import { CopyProgress } from "./copy-progress.ts";
import { CopyPlaces, filesOfCp } from "./copy-view.ts";
import { isLocalAt } from "./file-systems.ts";
import { weighTree } from "./weigh-tree.ts";

/** Parts at most. */
const PARTS_MAX = 5;
/** What one cp(1) has copied before another one has begun. */
const SMALL = 1000;

/** How far a copy is, 0 to 1; only grows. */
export type OnCopied = (fraction: number) => void;

export interface CopyTreeOptions {
  /** Without what is mounted in the tree. */
  readonly oneFileSystem?: boolean;
  readonly progress?: OnCopied | undefined;
}

/**
 * Copies a tree to a path that does not exist: owners, modes, times, hard links, holes, ACLs and extended attributes
 * (security.capability of ping) included; shares the blocks where the file system can (btrfs, xfs).
 *
 * By as many cp(1) at a time as there are cores, each of which copies a part of it: what that takes, and what else was tried,
 * is in test/bench/RESULTS.md. It is weighed before, for parts that are equal.
 */
export async function copyTree(
  from: string,
  to: string,
  signal: AbortSignal,
  options: CopyTreeOptions = {},
): Promise<void> {
  const found = await stat(from);
  if (found.isDirectory()) return copyDirectory(from, to, signal, options);
  using shown = new CopyProgress(to, options.progress);
  shown.expectFile(found.blocks);
  await checked(from, to, signal, (watch) => runCommand("cp", [...WORDS, "-T", "--", from, to], watch));
  shown.end();
}

const WORDS = ["-a", "--reflink=auto"];

async function copyDirectory(
  from: string,
  to: string,
  signal: AbortSignal,
  { oneFileSystem = false, progress }: CopyTreeOptions,
): Promise<void> {
  const cores = Math.min(PARTS_MAX, availableParallelism());
  const more = [...(oneFileSystem ? ["--one-file-system"] : []), ...(progress === undefined ? [] : ["-v"])];
  const places = new CopyPlaces(from, to);
  using shown = new CopyProgress(to, progress);
  await using bound = new CopyBound(from, to);
  using opened = new DisposableStack();
  /** Null: it stays in one piece. */
  const divide = async (either: AbortSignal): Promise<DividedTree | null> => {
    if (!(await isLocalAt(from))) return null;
    const weights = await weighTree(from, either, oneFileSystem);
    shown.expect(weights);
    bound.expect(weights);
    if (cores === 1 || weights === null || weights.total < SMALL || !places.divisible) return null;
    const tree = await DividedTree.of(from, to, weights, cores);
    return tree === null ? null : opened.use(tree);
  };
  let division: Promise<DividedTree | null> = Promise.resolve(null);
  await checked(from, to, AbortSignal.any([signal, bound.signal]), async (watch) => {
    division = divide(watch.signal);
    // Both have ended then, whichever failed.
    const [divided, files] = await Promise.allSettled([division, filesOfCp()]);
    if (divided.status === "rejected") throw divided.reason;
    if (files.status === "rejected") throw files.reason;
    const { value: tree } = divided;
    const { value: seen } = files;
    const parts = tree?.parts.map((names) => ["--parents", "-t", ".", "--", ...names]);
    const way = { whole: tree === null, named: tree?.hasShut !== false };
    const open = (stack: DisposableStack): View => places.open(seen, way, stack);
    const copy = (names: readonly (string | Buffer)[], either: AbortSignal): Promise<CommandResult> =>
      runInView({ program: seen[0], argv: ["cp", ...WORDS, ...more, ...names] }, open, {
        ...watch,
        signal: either,
        onOutput: (chunk) => shown.take(chunk),
      });
    return allOf(parts ?? [["-T", "--", ...places.names]], copy, watch.signal).catch((error: unknown) => {
      if (watch.signal.aborted || !(error instanceof BerthError)) throw error;
      throw new BerthError(`cannot copy the tree ${from}: ${error.message}`, { hint: error.hint, cause: error });
    });
  });
  (await division)?.finish();
  shown.end();
}

/** Runs one for each at the same time. What one of them can't do at all ends the others; how they end is told by the first that failed. */
async function allOf<T>(
  each: readonly T[],
  run: (one: T, signal: AbortSignal) => Promise<CommandResult>,
  signal: AbortSignal,
): Promise<CommandResult> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const results: CommandResult[] = [];
  const runs = each.map((one) =>
    run(one, either).then(
      (result) => results.push(result),
      (error) => failed.abort(error),
    ),
  );
  await Promise.all(runs);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
  return results.find(({ ok }) => !ok) ?? { ok: true, code: 0, status: "ended with status 0", tail: [] };
}

type Watch = Required<Pick<CommandOptions, "signal" | "onLine" | "lineMax">>;

/**
 * Runs cp(1), one or several: what one of them can't do ends all, but what a machine has removed meanwhile is none of its faults.
 * @throws BerthError; the signal's reason if that was aborted
 */
async function checked(
  from: string,
  to: string,
  signal: AbortSignal,
  run: (watch: Watch) => Promise<CommandResult>,
): Promise<void> {
  const failed = new AbortController();
  const faultOf = (status: string, line: string): BerthError =>
    new BerthError(`cannot copy the tree ${from}: cp ${status}: ${shortened(line)}`, {
      // Of the store: the workspace in it that the copy was made in is gone by the time this is read.
      hint: line.includes("No space left on device")
        ? `make room on the file system of ${dirname(dirname(to))}`
        : undefined,
    });
  let fault: string | undefined;
  const onLine = (line: string): void => {
    if (GONE.test(line) && !ALL_GONE.test(line)) return;
    fault ??= line;
    if (FAULT.test(line)) failed.abort(faultOf("failed", line));
  };
  const { ok, status } = await run({ signal: AbortSignal.any([signal, failed.signal]), onLine, lineMax: LINE_MAX });
  if (ok || (status === PARTLY && fault === undefined)) return;
  throw faultOf(status, fault ?? "");
}

function shortened(line: string): string {
  return line.length <= SHOWN ? line : `${line.slice(0, SHOWN / 2)}...${line.slice(-SHOWN / 2)}`;
}

/** What cp(1) says of files that a running machine removed or replaced meanwhile: the copy is of a moment without them. */
const GONE = new RegExp(
  `^cp: (${[
    "(?!cannot create).*: (No such file or directory|Not a directory)",
    "skipping file .*, as it was replaced while being copied",
    "cannot read symbolic link .*: Invalid argument",
    "(cannot (open|access|stat)|failed to get attributes of) .*: Too many levels of symbolic links",
    // It has been moved since it was copied: the copy has it where it was.
    "will not create hard link .* to directory .*",
  ].join("|")})$`,
);
/** Of the tree itself, by the names that it has for cp(1). */
const ALL_GONE = /^cp: cannot stat '?(\.|\/[^/]*)'?:/;
const FAULT = /^cp: (?!warning: )/;
const PARTLY = "ended with status 1";
const SHOWN = 240;
/** What is wrong stands at its end, behind up to two paths, of which a shell's quoting makes four times as much. */
const LINE_MAX = 2 * 4 * 4096 + 256;
