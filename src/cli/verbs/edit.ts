import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import { INSTALLATION } from "../../host/installation.ts";
import type { Paths } from "../../host/paths.ts";
import { readSettings } from "../../host/settings-files.ts";
import { findTree } from "../../host/tree-place.ts";
import { lookUp } from "../../machine/record.ts";
import { requireName } from "../../spec/name.ts";
import { type Problem, showProblem } from "../../spec/problem.ts";
import { visible } from "../../spec/quote.ts";
import { isTerminal } from "../../supervise/caller-terminal.ts";
import { askKey } from "../ask-key.ts";
import { openEditor } from "../editor.ts";
import { say } from "../output.ts";
import { ofMachine, problemsOf } from "../settings-problems.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("edit")
    .summary("edit a machine's settings file")
    .description(
      "Opens the settings file of a machine in $VISUAL, $EDITOR or the first of editor, nano and vi that there is; one that is not there yet is made from a " +
        "template. What is wrong with it is shown afterwards, with its place, and on a terminal it can be edited again or undone. " +
        "A machine that runs gets its new settings with its next start.",
    )
    .argument("<name>", "the machine")
    .action(run(edit));
}

async function edit({ paths, env }: Context, name: string): Promise<number> {
  requireName(name);
  const path = settingsFile(name, paths);
  const before = existsSync(path) ? readFileSync(path, "utf8") : undefined;
  if (before === undefined) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, template(name), { mode: 0o644 });
  }
  const undo = (): void => (before === undefined ? rmSync(path, { force: true }) : writeFileSync(path, before));
  const open = (): void => {
    try {
      openEditor(path, env);
    } catch (error) {
      undo();
      throw error;
    }
  };
  open();
  for (;;) {
    if (isUnchanged(path, before, template(name))) {
      undo();
      say(`berth: ${path} is as it was${before === undefined ? ": there is none" : ""}\n`);
      return 0;
    }
    const problems = check(name, paths);
    for (const problem of problems) say(`${visible(showProblem(problem))}\n`);
    const isWrong = problems.some(({ severity }) => severity === "error");
    if (!isWrong) return done(name, path, paths);
    const wish = isTerminal(0) && isTerminal(2) ? askKey("edit it [a]gain, [k]eep it, or [u]ndo?", "aku") : "k";
    if (wish === "u") undo();
    if (wish === "k")
      throw new BerthError(`${path} can't be used as it is`, { hint: `berth edit ${name} edits it again` });
    if (wish === "a") open();
  }
}

/** The one that counts; where there is none, where it would be looked for first. */
function settingsFile(name: string, paths: Paths): string {
  const own = readSettings(name, paths, INSTALLATION).files.find(({ path }) => path.endsWith(`/${name}.nspawn`));
  return own?.path ?? join(paths.etc, "machines", `${name}.nspawn`);
}

/** `made`: what was to be edited where there was nothing. */
function isUnchanged(path: string, before: string | undefined, made: string): boolean {
  const now = existsSync(path) ? readFileSync(path, "utf8") : undefined;
  return now === before || (before === undefined && now === made);
}

function check(name: string, paths: Paths): readonly Problem[] {
  const found = ofMachine(name, paths);
  return [...found.problems, ...problemsOf(found)];
}

function done(name: string, path: string, paths: Paths): number {
  const runs = lookUp(name, paths) !== null;
  const isThere = runs || findTree(paths.machines, name) !== null;
  const next = runs
    ? `: they hold from the next start of ${name} on`
    : isThere
      ? ""
      : `; there is no tree of ${name} yet`;
  say(`berth: ${path} is written${next}\n`);
  return 0;
}

function template(name: string): string {
  return `# Settings of machine ${name}, see berth.nspawn(5). berth check ${name} finds what is wrong with them.

[Exec]
#Environment=NAME=VALUE
#Capability=
#LimitNOFILE=

[Files]
#Bind=/srv/data:/data
#BindReadOnly=
#ReadOnly=no
`;
}
