import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Command } from "commander";
import { errorCode } from "../../errors.ts";
import { INSTALLATION } from "../../host/installation.ts";
import type { Paths } from "../../host/paths.ts";
import { listSettingsFiles, readSettingsFile } from "../../host/settings-files.ts";
import { buildSpec } from "../../spec/build-spec.ts";
import type { MachineSpec } from "../../spec/machine-spec.ts";
import { checkName } from "../../spec/name.ts";
import { type Problem, showProblem, warning } from "../../spec/problem.ts";
import { quote, visible } from "../../spec/quote.ts";
import { byDefault } from "../../spec/source.ts";
import { print, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("check")
    .summary("find everything wrong with settings files")
    .description(
      "Reads settings files and reports all problems at once, one a line: FILE:LINE:COLUMN: what, what was expected, " +
        "and a hint; what an untrusted file asks for in vain and bind sources that are missing among them. Without " +
        "FILE: every settings file and drop-in of this root. Exit status 1 if there is an error.",
    )
    .argument("[file...]", "NAME.nspawn files, or drop-ins")
    .option("--json", "print the problems as JSON")
    .action(run(check));
}

async function check({ paths }: Context, given: readonly string[], options: { json?: boolean }): Promise<number> {
  const { files, problems: hidden } =
    given.length > 0 ? { files: given, problems: [] } : listSettingsFiles(paths, INSTALLATION);
  const problems = [...hidden, ...files.flatMap((file) => problemsOf(file, paths))];
  if (options.json === true) print(`${JSON.stringify(problems, null, 2)}\n`);
  else {
    print(problems.map((problem) => `${visible(showProblem(problem))}\n`).join(""));
    if (problems.length === 0) say(`${files.length} settings files checked, nothing to report\n`);
  }
  return problems.some(({ severity }) => severity === "error") ? 1 : 0;
}

function problemsOf(file: string, paths: Paths): readonly Problem[] {
  const { assignments, problems, ignored } = readSettingsFile(file, paths, INSTALLATION);
  const built = buildSpec({
    name: nameFor(file),
    root: byDefault("/"),
    assignments,
    problems: [...problems, ...ignored],
    options: [],
    command: [],
  });
  return [...built.problems, ...(built.spec === undefined ? [] : missingSources(built.spec))];
}

/** A drop-in stands in NAME.nspawn.d/. A name that can't be a machine's is the start's matter, not the file's. */
function nameFor(file: string): string {
  const own = file.endsWith(".conf") ? basename(dirname(file)).replace(/\.d$/, "") : basename(file);
  const name = own.replace(/\.nspawn$/, "");
  return checkName(name) === undefined ? name : "machine";
}

/** A start would refuse them; by then they may be there. */
function missingSources({ binds, overlays }: MachineSpec): readonly Problem[] {
  const wanted = [
    ...binds.map(({ value, source }) => ({ layer: value, source, use: "bind" })),
    ...overlays.flatMap(({ value: { lower, upper }, source }) =>
      [...lower, ...(upper === null ? [] : [upper])].map((layer) => ({ layer, source, use: "be a layer" })),
    ),
  ];
  return wanted
    .filter(({ layer }) => !layer.fromRoot && layer.source !== "" && isMissing(layer.source))
    .map(({ layer, source, use }) => warning(source, `there is no ${quote(layer.source)} to ${use}`));
}

/** Not so what can't be seen without root. */
function isMissing(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return ["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "");
  }
}
