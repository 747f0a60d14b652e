import type { Command } from "commander";
import { Assigned } from "../../config/assigned.ts";
import type { Assignment } from "../../config/unit-file.ts";
import { INSTALLATION } from "../../host/installation.ts";
import { isSettingsPath, readMachineSettings, readSettingsFile, type SettingsFile } from "../../host/settings-files.ts";
import { showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { showSource } from "../../spec/source.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { print, printJson, say } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly effective?: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("cat")
    .summary("print a machine's settings files")
    .description(
      "Prints the settings file of a machine and its drop-ins in the order they apply, each below a comment with its " +
        "path; of a file that is not trusted the comment says which of its settings are ignored. FILE has a slash " +
        "or a dot at its beginning, or ends in .nspawn or .conf.",
    )
    .argument("<name|file>", "a machine, or a file")
    .option("--effective", "print what comes of them, one assignment a line below where it was written")
    .option("--json", "print the files and the settings that hold as JSON")
    .action(run(cat));
}

async function cat({ paths }: Context, name: string, options: Options): Promise<number> {
  const { files, problems } = isSettingsPath(name)
    ? { files: [readSettingsFile(name, paths, INSTALLATION)], problems: [] }
    : readMachineSettings(name, paths, INSTALLATION);
  const hidden = problems.filter(({ source }) => source.from === "default");
  for (const problem of hidden) say(`berth: ${visible(showProblem(problem))}\n`);
  const assignments = files.flatMap((file) => file.assignments);
  if (options.json === true) printJson(asJson(name, files, effective(assignments)));
  else if (options.effective === true) print(shown(effectiveText(effective(assignments))));
  else print(shown(files.map(fileText).join("\n")));
  return 0;
}

function effective(assignments: readonly Assignment[]): readonly Assignment[] {
  return new Assigned(assignments, () => undefined).effective();
}

function fileText({ path, text, distrust, ignored }: SettingsFile): string {
  const trust = distrust === null ? "" : `# not trusted: ${distrust}${ignoredText(ignored)}\n`;
  return `# ${path}\n${trust}${text}${text === "" || text.endsWith("\n") ? "" : "\n"}`;
}

function ignoredText(ignored: SettingsFile["ignored"]): string {
  const items = ignored.map(({ key, source }) => `${key}= (line ${source.from === "file" ? source.line : "?"})`);
  return items.length === 0 ? "" : `; ignored: ${items.join(", ")}`;
}

/** Again a settings file, that means the same. */
function effectiveText(assignments: readonly Assignment[]): string {
  const sections = [...new Set(assignments.map(({ section }) => section))];
  return sections
    .map((section) => {
      const own = assignments.filter((each) => each.section === section);
      const lines = own.map(({ key, value, source }) => `# ${showSource(source)}\n${key}=${value}\n`);
      return `[${section}]\n${lines.join("")}`;
    })
    .join("\n");
}

function asJson(name: string, files: readonly SettingsFile[], assignments: readonly Assignment[]): object {
  return {
    name,
    files: files.map(({ path, text, distrust, ignored }) => ({
      path,
      trusted: distrust === null,
      distrust,
      ignored,
      text,
    })),
    settings: assignments.map(({ section, key, value, source }) => ({ section, key, value, source })),
  };
}

/** The bytes as they are for a pipe; for a terminal without anything that acts on it. */
function shown(text: string): string {
  return isTerminal(1) ? text.split("\n").map(visible).join("\n") : text;
}
