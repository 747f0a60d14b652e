import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { findProgram } from "../host/find-program.ts";
import type { BuildPlan } from "./build-plan.ts";
import { runInToolView } from "./confine-tool.ts";
import { keyringPackages } from "./keyring-packages.ts";
import type { Packages } from "./lock.ts";
import type { Program, ToolPlan } from "./package-tool.ts";
import { putInTree } from "./put-in-tree.ts";
import { makeEvent, type OnProgress, type StageName } from "./stage.ts";
import { copyKeyring, writeToolFile } from "./tool-directory.ts";
import { packageTool } from "./tool-plan.ts";

export interface RunToolOptions {
  /** Has a tool directory already; gets `tree/`. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

const SHOWN_LINES = 8;

/** Has a package manager install what `plan` says into `directory`/tree. Answers what is installed then. */
export async function runTool(
  { recipe, release, image }: Pick<BuildPlan, "recipe" | "release" | "image">,
  plan: ToolPlan,
  { directory, signal, onProgress }: RunToolOptions,
): Promise<Packages> {
  const tool = packageTool(plan.tool);
  const what = `bootstrap of ${recipe}/${release}`;
  requireTool(what, image, plan);
  await mkdir(join(directory, "tree"), { mode: 0o755 });
  for (const [name, text] of Object.entries(plan.files)) await writeToolFile(directory, name, text);
  for (const keyring of plan.keyrings) await copyKeyring(directory, keyring);

  for (const { stage, may, argv } of plan.commands) {
    onProgress(makeEvent(stage));
    const onLine = follow(stage, tool.steps, onProgress);
    const result = await runInToolView(argv, { directory, may, signal, onLine });
    if (!result.ok) throw failure(what, plan, result.status, result.tail);
  }
  const entries = Object.entries(plan.treeFiles).map(([path, content]) => ({
    path,
    content,
    mode: 0o644,
    uid: 0,
    gid: 0,
  }));
  await putInTree(directory, entries, signal);
  const lines: string[] = [];
  const listed = await runInToolView(plan.inventory, {
    directory,
    may: "fetch",
    signal,
    onLine: (line) => lines.push(line),
  });
  if (!listed.ok) throw failure(what, plan, listed.status, listed.tail);
  return tool.parsePackages(lines);
}

/** What of a tool this host lacks. */
export function missingPrograms(programs: readonly Program[]): readonly Program[] {
  return programs.filter(({ name }) => findProgram(name) === undefined);
}

/** What a host has of tools. */
export interface Host {
  missing(programs: readonly Program[]): readonly Program[];
  exists(path: string): boolean;
}

/** @throws BerthError that names the tool, where to get it, and the way that needs none */
export function requireTool(
  what: string,
  image: string | null,
  plan: ToolPlan,
  { missing: missingOf, exists }: Host = { missing: missingPrograms, exists: existsSync },
): void {
  const other = otherWay(image);
  const lacking = missingOf(packageTool(plan.tool).programs);
  if (lacking.length > 0) {
    const packages = [...new Set(lacking.flatMap(({ debian }) => debian ?? []))];
    const install =
      packages.length > 0
        ? `apt-get install --no-install-recommends ${packages.join(" ")}`
        : `Debian has no package of ${plan.tool}`;
    const names = lacking.map(({ name }) => name).join(" and ");
    throw new BerthError(`${what} needs ${names}, not installed here`, {
      hint: `${install}${other}`,
      kind: "NotSupported",
    });
  }
  const missing = plan.keyrings.filter((keyring) => !exists(keyring));
  if (plan.keyrings.length > 0 && missing.length === 0) return;
  const fault =
    missing.length > 0 ? `needs the keys ${missing.join(" and ")}, not there` : "has no keys to check packages with";
  const packages = keyringPackages(missing);
  const install =
    packages.length > 0
      ? `apt-get install --no-install-recommends ${packages.join(" ")}`
      : "get them from the distribution and name them with --keyring";
  throw new BerthError(`${what} ${fault}`, { hint: `${install}${other}`, kind: "NotSupported" });
}

/** What a hint about a tool goes on with. */
export function otherWay(image: string | null): string {
  return image === null ? "" : `; or: berth pull images:${image} NAME needs no tool`;
}

/** Moves the bar of one stage. */
function follow(stage: StageName, steps: readonly RegExp[], onProgress: OnProgress): (line: string) => void {
  let count = 0;
  return (line) => {
    const found = steps.map((step) => step.exec(line)?.groups).find((groups) => groups !== undefined);
    if (found === undefined) return;
    count++;
    const total = found["total"] === undefined ? null : Number(found["total"]);
    const done = found["done"] === undefined ? count : Number(found["done"]);
    onProgress(makeEvent(stage, { done, total, item: found["item"] ?? "", part: total ? done / total : 0 }));
  };
}

function failure(what: string, plan: ToolPlan, status: string, tail: readonly string[]): BerthError {
  const { complaint, causes } = packageTool(plan.tool);
  const lines = tail.filter((line) => line.trim() !== "");
  const first = lines.find((line) => complaint.test(line));
  const cause = causes.find(([pattern]) => lines.some((line) => pattern.test(line)));
  const end = lines.slice(-SHOWN_LINES).map((line) => `\n  ${line}`);
  const said = first === undefined ? "" : `: ${first.trim()}`;
  return new BerthError(`${what} failed (${plan.tool} ${status})${said}${end.join("")}`, { hint: cause?.[1] });
}
