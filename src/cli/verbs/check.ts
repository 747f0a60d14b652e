import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Command } from "commander";
import { readSettingsFile } from "../../host/settings-files.ts";
import { buildSpec } from "../../spec/build-spec.ts";
import { checkName } from "../../spec/name.ts";
import { type Problem, showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { byDefault } from "../../spec/source.ts";
import { print, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("check")
    .summary("find everything wrong with settings files")
    .description(
      "Reads settings files and reports all problems at once, one a line: FILE:LINE:COLUMN: what, what was expected, " +
        "and a hint. Without FILE: every settings file of this root. Exit status 1 if there is an error.",
    )
    .argument("[file...]", "NAME.nspawn files, or drop-ins")
    .option("--json", "print the problems as JSON")
    .action(run(check));
}

async function check(context: Context, files: readonly string[], options: { json?: boolean }): Promise<number> {
  const checked = files.length > 0 ? files : everyFile(context);
  const problems = checked.flatMap(problemsOf);
  if (options.json === true) print(`${JSON.stringify(problems, null, 2)}\n`);
  else {
    print(problems.map((problem) => `${visible(showProblem(problem))}\n`).join(""));
    if (problems.length === 0) say(`${checked.length} settings files checked, nothing to report\n`);
  }
  return problems.some(({ severity }) => severity === "error") ? 1 : 0;
}

function problemsOf(file: string): readonly Problem[] {
  const { assignments, problems } = readSettingsFile(file, true);
  return buildSpec({ name: nameFor(file), root: byDefault("/"), assignments, problems, options: [], command: [] })
    .problems;
}

/** A drop-in stands in NAME.nspawn.d/. A name that can't be a machine's is the start's matter, not the file's. */
function nameFor(file: string): string {
  const name = basename(file).replace(/\.(nspawn|conf)$/, "");
  return checkName(name) === undefined ? name : "machine";
}

function everyFile({ paths }: Context): readonly string[] {
  return [join(paths.etc, "machines"), join(paths.run, "machines"), paths.machines].flatMap((directory) =>
    list(directory)
      .filter((name) => name.endsWith(".nspawn"))
      .map((name) => join(directory, name)),
  );
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}
