import type { Command } from "commander";
import { type DiffRequest, diffImage } from "../../diff/diff.ts";
import { changeLine, packageLines, pathText } from "../../diff/show.ts";
import type { Change } from "../../diff/tree-diff.ts";
import { UsageError } from "../../errors.ts";
import { splitSnapshotName } from "../../image/snapshots/snapshot.ts";
import { Snapshots } from "../../image/snapshots/snapshots.ts";
import { ImageStore } from "../../image/store.ts";
import { visible } from "../../spec/quote.ts";
import { print, printJson, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly exitCode?: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("diff")
    .summary("show what has changed since a snapshot")
    .description(
      "Shows which files of image NAME were added (A), deleted (D) and modified (M) since a snapshot, each with what differs, " +
        "and which packages of dpkg, apk, pacman and rpm. The content of a file is compared where its size is the same and its " +
        "times tell that it was written to.",
    )
    .argument("<name>", "the image; NAME@SNAPSHOT stands for both")
    .argument("[snapshot]", "the earlier state; the newest snapshot without it")
    .argument("[other]", "the later state, a snapshot; the image as it is now without it, or for .")
    .option("--exit-code", "exit with status 1 where anything differs; a failure is 2")
    .option("--json", "print as JSON")
    .action(run(diff));
}

async function diff(
  { paths }: Context,
  name: string,
  first: string | undefined,
  second: string | undefined,
  options: Options,
): Promise<number> {
  const store = new ImageStore(paths);
  const { image, from, to } = statesOf(
    name,
    [first, second].filter((each) => each !== undefined),
    (of) => new Snapshots(store).newest(of).name,
  );
  // Not the context's: what reads both trees in one go is ended by ^C itself.
  const { signal } = new AbortController();
  const { files, packages, problems } = await diffImage(store, { image, from, to, signal });
  if (options.json === true) printJson({ image, from, to, files: files.map(fieldsOf), packages, problems });
  else print([...files.map(changeLine), ...packages.flatMap(packageLines), ""].join("\n"));
  if (options.json !== true) for (const problem of problems) say(`berth: ${visible(problem)}\n`);
  const differs = files.length > 0;
  return options.exitCode === true && differs ? 1 : 0;
}

/** `web snap0 snap1` and `web@snap0 snap1` are the same. `newest`: the snapshot of an image where none is named. */
function statesOf(
  name: string,
  rest: readonly string[],
  newest: (image: string) => string,
): Pick<DiffRequest, "image" | "from" | "to"> {
  const named = splitSnapshotName(name);
  const image = named?.image ?? name;
  const [from = newest(image), other = ".", more] = named === null ? rest : [named.snapshot, ...rest];
  if (more !== undefined) throw new UsageError("two states can be compared, not three");
  return { image, from, to: other === "." ? null : other };
}

function fieldsOf({ path, change, type, what }: Change): object {
  const text = (value: string | null): string | null => (value === null ? null : pathText(value));
  const differences = what.map(({ aspect, from, to }) => ({ aspect, from: text(from), to: text(to) }));
  return { path: pathText(path), change, type, what: differences };
}
