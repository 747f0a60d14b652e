import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Command } from "commander";
import { readBoolean } from "../../config/values.ts";
import { errorCode } from "../../errors.ts";
import { INSTALLATION } from "../../host/installation.ts";
import type { Paths } from "../../host/paths.ts";
import {
  isSettingsPath,
  listSettingsFiles,
  readMachineSettings,
  readSettingsFile,
  type SettingsFile,
} from "../../host/settings-files.ts";
import { buildSpec, type SpecInput } from "../../spec/build-spec.ts";
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
  if (options.json === true) print(`${JSON.stringify(problems, null, 2)}\n`);
  else {
    print(problems.map((problem) => `${visible(showProblem(problem))}\n`).join(""));
    if (problems.length === 0)
      say(`${sets.flatMap(({ files }) => files).length} settings files checked, nothing to report\n`);
  }
  return problems.some(({ severity }) => severity === "error") ? 1 : 0;
}

/** Files that are checked together, as those of one machine. */
interface FileSet {
  readonly name: string;
  readonly files: readonly SettingsFile[];
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

function ofMachine(name: string, paths: Paths): FileSet & Pick<FoundSets, "problems"> {
  const { files, problems } = readMachineSettings(name, paths, INSTALLATION);
  return { name, files, problems: problems.filter(({ source }) => source.from === "default") };
}

function everyFile(paths: Paths): FoundSets {
  const { files, problems } = listSettingsFiles(paths, INSTALLATION);
  return { sets: files.map((file) => oneFile(file, paths)), problems };
}

function oneFile(path: string, paths: Paths): FileSet {
  return { name: nameFor(path), files: [readSettingsFile(path, paths, INSTALLATION)] };
}

function problemsOf({ name, files }: FileSet): readonly Problem[] {
  const input = {
    name,
    root: byDefault("/"),
    assignments: files.flatMap(({ assignments }) => assignments),
    problems: files.flatMap(({ problems, ignored }) => [...problems, ...ignored]),
    options: [],
    command: [],
  };
  const { spec, problems } = buildSpec(input);
  const modeIsSaid = input.assignments.some(({ section, key }) => section === "Exec" && key === "Boot");
  return [
    ...problems,
    ...(modeIsSaid ? [] : startProblems(input, problems)),
    ...(spec === undefined ? [] : missingSources(spec)),
  ];
}

/** What is right for `berth run`, and what `berth start` refuses or passes over. With Boot=no it is not meant to be started. */
function startProblems(input: SpecInput, known: readonly Problem[]): readonly Problem[] {
  const shown = new Set(known.map(showProblem));
  const refused = buildSpec({ ...input, options: [{ section: "Exec", key: "Boot", value: "yes", option: "--boot" }] });
  const refusals = refused.problems
    .filter((problem) => problem.severity === "error" && !shown.has(showProblem(problem)))
    .map(({ source, what, hint }) => warning(source, `berth start boots it and refuses this: ${what}`, hint));
  const processTwo = input.assignments.filter(({ section, key }) => section === "Exec" && key === "ProcessTwo").at(-1);
  if (processTwo === undefined || readBoolean(processTwo.value) !== true) return refusals;
  return [...refusals, warning(processTwo.source, "berth start boots it: ProcessTwo= has no effect there", BOOT_NO)];
}

const BOOT_NO = "Boot=no says that it is for berth run";

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
