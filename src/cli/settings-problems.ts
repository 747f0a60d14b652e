import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { readBoolean } from "../config/values.ts";
import { errorCode } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { readMachineSettings, readSettingsFile, type SettingsFile } from "../host/settings-files.ts";
import { buildSpec, type SpecInput } from "../spec/build-spec.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { checkName } from "../spec/name.ts";
import { type Problem, showProblem, warning } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import { byDefault } from "../spec/source.ts";

/** Files that are checked together, as those of one machine. */
export interface FileSet {
  readonly name: string;
  readonly files: readonly SettingsFile[];
}

/** Of a machine, with its drop-ins. */
export function ofMachine(name: string, paths: Paths): FileSet & { readonly problems: readonly Problem[] } {
  const { files, problems } = readMachineSettings(name, paths, INSTALLATION);
  return { name, files, problems: problems.filter(({ source }) => source.from === "default") };
}

export function oneFile(path: string, paths: Paths): FileSet {
  return { name: nameFor(path), files: [readSettingsFile(path, paths, INSTALLATION)] };
}

/** All that is wrong with them, what a start would refuse or pass over among it. */
export function problemsOf({ name, files }: FileSet): readonly Problem[] {
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
