import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Command, Option } from "commander";
import { INSTALLATION } from "../host/installation.ts";
import { listTrees } from "../host/list-trees.ts";
import { findPaths, type Paths } from "../host/paths.ts";
import { listSettingsFiles } from "../host/settings-files.ts";
import { SNAPSHOTS } from "../image/snapshots/places.ts";
import { knownMachines } from "../machine/known-machines.ts";
import { listMachines } from "../machine/record.ts";
import { PROPERTY_NAMES } from "../machine/set-property.ts";
import { readPublished } from "../manager/published.ts";
import { checkName } from "../spec/name.ts";
import { argumentValues, optionValues, type Values } from "./completion-values.ts";
import { commandOf, verbFirst } from "./verb-first.ts";
import { VERBS } from "./verbs.ts";

/** What a word may be. */
export interface Candidate {
  readonly word: string;
  readonly help: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** What the shell itself knows, besides. */
  readonly also: "files" | "directories" | "commands" | null;
}

const NOTHING: Completion = { candidates: [], also: null };

/**
 * What the last of `words` may become; the others are what stands before it on the command line, without `berth`. Only looks: at
 * the program's own tables, at directories and at what the daemon publishes.
 */
export async function complete(words: readonly string[], env: NodeJS.ProcessEnv): Promise<Completion> {
  const { root, rest } = splitRoot(await inOrder(words));
  if (rest.length === 0) return fromValues({ kind: "directories" }, "", findPaths(env, INSTALLATION, root));
  const paths = findPaths(env, INSTALLATION, root);
  const [verb = "", ...given] = rest;
  if (rest.length === 1) return fromValues({ kind: "verbs" }, verb, paths);
  if (verb === "help") return given.length === 1 ? fromValues({ kind: "verbs" }, given[0] ?? "", paths) : NOTHING;
  const command = await commandOf(verb);
  return command === undefined ? NOTHING : inVerb(command, given, paths);
}

/** --root DIR before the verb; an empty rest: its value is being typed. */
function splitRoot(words: readonly string[]): { root: string | undefined; rest: readonly string[] } {
  const [first = "", second] = words;
  if (first === "--root") return { root: words.length > 2 ? second : undefined, rest: words.slice(2) };
  if (first.startsWith("--root=") && words.length > 1)
    return { root: first.slice("--root=".length), rest: words.slice(1) };
  return { root: undefined, rest: words };
}

/** Behind options before the verb comes the verb, if it is not there yet. */
async function inOrder(words: readonly string[]): Promise<readonly string[]> {
  const { rest } = splitRoot(words);
  const [first = ""] = rest;
  if (!first.startsWith("-") || rest.length < 2) return words;
  const before = words.slice(0, -1);
  const ordered = await verbFirst(before);
  const isThere = !splitRoot(ordered).rest[0]?.startsWith("-");
  return [...(isThere ? ordered : before.slice(0, words.length - rest.length)), words.at(-1) ?? ""];
}

function inVerb(command: Command, words: readonly string[], paths: Paths): Completion {
  const current = words.at(-1) ?? "";
  const before = readWords(command, words.slice(0, -1));
  if (before.waiting !== undefined) return fromValues(optionValues(before.waiting), current, paths);
  if (before.optionsEnded || !current.startsWith("-")) return positional(command, before.positions, current, paths);
  const [name = "", value] = splitOnce(current);
  if (value === undefined) return optionsOf(command, current);
  const option = command.options.find(({ long }) => long === name);
  if (option === undefined) return NOTHING;
  const { candidates, also } = fromValues(optionValues(option), value, paths);
  return { candidates: candidates.map(({ word, help }) => ({ word: `${name}=${word}`, help })), also };
}

function positional(command: Command, given: readonly string[], current: string, paths: Paths): Completion {
  const index = given.length;
  const all = command.registeredArguments;
  const argument = all[index] ?? (all.at(-1)?.variadic === true ? all.at(-1) : undefined);
  // Behind a command's name come its own arguments.
  if (argument?.name() === "command") return { candidates: [], also: index >= all.length ? "files" : "commands" };
  if (argument === undefined) return NOTHING;
  const values = argumentValues(command.name(), argument, PROPERTY_NAMES);
  if (values.kind === "snapshots") {
    const [image = ""] = given;
    return { candidates: starting(snapshotsOfImage(paths, image), current), also: null };
  }
  const { user, name } = splitUser(command.name(), current);
  const found = fromValues(values, name, paths);
  return user === ""
    ? found
    : { ...found, candidates: found.candidates.map(({ word, help }) => ({ word: user + word, help })) };
}

/** `shell USER@NAME` */
function splitUser(verb: string, word: string): { readonly user: string; readonly name: string } {
  const at = verb === "shell" ? word.lastIndexOf("@") + 1 : 0;
  return { user: word.slice(0, at), name: word.slice(at) };
}

interface Before {
  readonly positions: readonly string[];
  readonly optionsEnded: boolean;
  /** Whose value comes next. */
  readonly waiting: Option | undefined;
}

function readWords(command: Command, words: readonly string[]): Before {
  // After the first words of such a verb all belongs to the command; of exec after the command's name.
  const place = command.registeredArguments.findIndex((argument) => argument.name() === "command");
  const last = command.name() === "exec" ? place : Math.min(place, 0);
  const positions: string[] = [];
  let optionsEnded = false;
  let waiting: Option | undefined;
  for (const word of words) {
    if (waiting !== undefined) waiting = undefined;
    else if (word === "--" && positions.length < command.registeredArguments.length) optionsEnded = true;
    else if (word.startsWith("-") && !optionsEnded) {
      const [name = "", value] = splitOnce(word);
      const option = command.options.find(({ long, short }) => long === name || short === name);
      if (option?.required === true && value === undefined) waiting = option;
    } else {
      positions.push(word);
      if (place >= 0 && positions.length > last) optionsEnded = true;
    }
  }
  return { positions, optionsEnded, waiting };
}

function splitOnce(word: string): readonly [string, string | undefined] {
  const at = word.startsWith("--") ? word.indexOf("=") : -1;
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function optionsOf(command: Command, current: string): Completion {
  const all = [
    ...command.options.filter(({ hidden }) => !hidden).map(({ long, description }) => [long, description] as const),
    ["--help", "help for it"] as const,
  ];
  const candidates = all.flatMap(([long, help]) =>
    long?.startsWith(current) && !help.includes("not in effect yet") ? [{ word: long, help }] : [],
  );
  return { candidates, also: null };
}

function fromValues(values: Values, current: string, paths: Paths): Completion {
  switch (values.kind) {
    case "files":
    case "directories":
      return { candidates: [], also: values.kind };
    case "command":
      return { candidates: [], also: "commands" };
    case "settings":
      return { candidates: starting(settingsNames(paths), current), also: "files" };
    case "images":
      return { candidates: starting(imagesOrSnapshots(paths, current), current), also: null };
    default:
      return { candidates: starting(namesOf(values, paths), current), also: null };
  }
}

function starting(words: readonly (string | Candidate)[], current: string): readonly Candidate[] {
  return words
    .map((word) => (typeof word === "string" ? { word, help: "" } : word))
    .filter(({ word }) => word.startsWith(current));
}

function namesOf(values: Values, paths: Paths): readonly (string | Candidate)[] {
  switch (values.kind) {
    case "verbs":
      return Object.entries(VERBS).map(([word, { summary }]) => ({ word, help: summary }));
    case "machines":
      return knownMachines(paths);
    case "running":
      return running(paths);
    case "stopped": {
      const known = new Set(running(paths));
      return listTrees(paths.machines).filter((name) => !known.has(name));
    }
    case "recipes":
      return recipes(paths);
    case "words":
      return values.words;
    default:
      return [];
  }
}

/** As the daemon publishes it, or where none runs as the records tell: to root. */
function running(paths: Paths): readonly string[] {
  const published = readPublished(paths);
  if (published !== null) return published.filter(({ state }) => state !== "failed").map(({ name }) => name);
  try {
    return listMachines(paths).map(({ name }) => name);
  } catch {
    return [];
  }
}

function settingsNames(paths: Paths): readonly string[] {
  const { files } = listSettingsFiles(paths, INSTALLATION);
  return [...new Set(files.flatMap((file) => /([^/]+)\.nspawn$/.exec(file)?.[1] ?? []))];
}

/** Behind NAME@ the snapshots of that image. */
function imagesOrSnapshots(paths: Paths, current: string): readonly string[] {
  const at = current.indexOf("@");
  if (at < 0) return listTrees(paths.machines);
  const image = current.slice(0, at);
  return snapshotsOfImage(paths, image).map((name) => `${image}@${name}`);
}

function snapshotsOfImage(paths: Paths, image: string): readonly string[] {
  return checkName(image) === undefined ? namesIn(join(paths.machines, SNAPSHOTS, image), /^([^.].*)$/) : [];
}

function recipes({ recipes: shipped, etc }: Paths): readonly string[] {
  const names = [shipped, join(etc, "recipes")].flatMap((directory) => namesIn(directory, /^(.*)\.ini$/));
  return [...new Set(names)].sort();
}

function namesIn(directory: string, pattern: RegExp): readonly string[] {
  try {
    return readdirSync(directory).flatMap((name) => pattern.exec(name)?.[1] ?? []);
  } catch {
    return [];
  }
}
