import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { BerthError } from "../errors.ts";
import { type CommandOptions, type CommandResult, runCommand } from "../host/command.ts";
import { runInView } from "../host/run-in-view.ts";
import type { View } from "../host/view-image.ts";
import { CopyBound } from "./copy-bound.ts";
import type { CopyPart, Hear } from "./copy-early.ts";
import type { DividedTree } from "./copy-parts.ts";
import { CopyProgress } from "./copy-progress.ts";
import { CopyPlaces, type CopyWay, filesOf } from "./copy-view.ts";
import { divideTree } from "./divide-tree.ts";

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
  const more = [...(oneFileSystem ? ["--one-file-system"] : []), ...(progress === undefined ? [] : ["-v"])];
  const places = new CopyPlaces(from, to);
  using shown = new CopyProgress(to, progress);
  await using bound = new CopyBound(from, to);
  using opened = new DisposableStack();
  let tree: DividedTree | undefined;
  await checked(from, to, AbortSignal.any([signal, bound.signal]), async (watch) => {
    const files = await filesOf("cp");
    const copy = (names: Names, way: CopyWay, either: AbortSignal, hear: Hear = (act) => act()) =>
      runInView(
        { program: files[0], argv: ["cp", ...WORDS, ...more, ...names] },
        (stack): View => places.open(files, way, stack),
        {
          lineMax: watch.lineMax,
          signal: AbortSignal.any([watch.signal, either]),
          onLine: (line) => hear(() => watch.onLine(line)),
          onOutput: (chunk) => hear(() => shown.take(chunk)),
        },
      );
    const copyPart =
      (named: boolean): CopyPart =>
      (names, either, hear) =>
        copy(["--parents", "-t", ".", "--", ...names], { whole: false, named }, either, hear);
    const divided = await divideTree(from, to, {
      oneFileSystem,
      signal: watch.signal,
      copyEarly: places.divisible ? copyPart(false) : null,
      onWeighed: (weights) => {
        shown.expect(weights);
        bound.expect(weights);
      },
    });
    const all = (either: AbortSignal) => copy(["-T", "--", ...places.names], { whole: true, named: true }, either);
    tree = divided === null ? undefined : opened.use(divided.tree);
    return allOf(divided?.runs(copyPart) ?? [all], watch.signal).catch((error: unknown) => {
      if (watch.signal.aborted || !(error instanceof BerthError)) throw error;
      throw new BerthError(`cannot copy the tree ${from}: ${error.message}`, { hint: error.hint, cause: error });
    });
  });
  tree?.finish();
  shown.end();
}

type Names = readonly (string | Buffer)[];

/** Runs all at the same time. What one of them can't do at all ends the others; how they end is told by the first that failed. */
async function allOf(
  runs: readonly ((signal: AbortSignal) => Promise<CommandResult>)[],
  signal: AbortSignal,
): Promise<CommandResult> {
  const failed = new AbortController();
  const results: CommandResult[] = [];
  const ended = runs.map((run) =>
    run(AbortSignal.any([signal, failed.signal])).then(
      (result) => results.push(result),
      (error) => failed.abort(error),
    ),
  );
  await Promise.all(ended);
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
