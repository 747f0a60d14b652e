import type { Command } from "commander";
import { INSTALLATION } from "../../host/installation.ts";
import type { Paths } from "../../host/paths.ts";
import { isSettingsPath, listSettingsFiles } from "../../host/settings-files.ts";
import { type Problem, showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { print, printJson, say } from "../output.ts";
import { type FileSet, ofMachine, oneFile, problemsOf } from "../settings-problems.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("check")
    .summary("find everything wrong with settings files")
    .description(
      "Reads settings files and reports all problems at once, one a line: FILE:LINE:COLUMN: what, what was expected, " +
        "and a hint; what an untrusted file asks for in vain, bind sources that are missing, and in a file without Boot= " +
        "what keeps berth start from booting it among them. Without arguments: every settings file and drop-in of this " +
        "root. Exit status 1 if there is an error. FILE has a slash or a dot at its beginning, or ends in .nspawn or .conf.",
    )
    .argument("[name|file...]", "machines, each with its drop-ins; NAME.nspawn files, or drop-ins")
    .option("--json", "print the problems as JSON")
    .action(run(check));
}

async function check({ paths }: Context, given: readonly string[], options: { json?: boolean }): Promise<number> {
  const { sets, problems: hidden } = given.length > 0 ? named(given, paths) : everyFile(paths);
  const problems = [...hidden, ...sets.flatMap(problemsOf)];
  if (options.json === true) printJson(problems);
  else {
    print(problems.map((problem) => `${visible(showProblem(problem))}\n`).join(""));
    if (problems.length === 0) say(`${checked(sets)} checked, nothing to report\n`);
  }
  return problems.some(({ severity }) => severity === "error") ? 1 : 0;
}

function checked(sets: readonly FileSet[]): string {
  const count = sets.flatMap(({ files }) => files).length;
  return count === 1 ? "1 settings file" : `${count} settings files`;
}

interface FoundSets {
  readonly sets: readonly FileSet[];
  /** Of places that can't be looked into. */
  readonly problems: readonly Problem[];
}

function named(words: readonly string[], paths: Paths): FoundSets {
  const found = words.map((word) =>
    isSettingsPath(word) ? { ...oneFile(word, paths), problems: [] } : ofMachine(word, paths),
  );
  return { sets: found, problems: found.flatMap(({ problems }) => problems) };
}

function everyFile(paths: Paths): FoundSets {
  const { files, problems } = listSettingsFiles(paths, INSTALLATION);
  return { sets: files.map((file) => oneFile(file, paths)), problems };
}
