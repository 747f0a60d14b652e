import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { requirePackage } from "../../bootstrap/additions.ts";
import { type BootstrapResult, bootstrap } from "../../bootstrap/bootstrap.ts";
import { readLock, showLock } from "../../bootstrap/lock.ts";
import type { OnProgress } from "../../bootstrap/stage.ts";
import { UsageError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";
import { print } from "../output.ts";
import { type Progress, startProgress } from "../progress.ts";
import type { Context, Runner } from "../verb.ts";

interface Options {
  readonly release?: string;
  readonly package?: readonly string[];
  readonly run?: readonly string[];
  readonly mirror?: string;
  readonly keyring?: readonly string[];
  readonly lock?: string;
  readonly locked?: string;
  readonly refresh?: boolean;
  readonly cache: boolean;
  readonly json?: boolean;
}

export function define(program: Command, run: Runner): void {
  program
    .command("bootstrap")
    .summary("make a machine from a distribution's packages")
    .description(
      "Makes the tree of machine NAME from RECIPE: a recipe (debian), one with its release (debian/trixie) or a " +
        "release alone (trixie). The second machine of a kind is a copy from the cache. `berth recipes` lists all.",
    )
    .argument("<recipe>", "what to build")
    .argument("<name>", "the new machine's name")
    .option("--release <release>", "which release of the recipe")
    .option("--package <package>", "install this one too (again: several)", collect)
    .option(
      "--run <command>",
      "run this in the finished tree, as a machine, after the recipe's own (again: several)",
      collect,
    )
    .option("--mirror <address>", "take packages from there")
    .option("--keyring <file>", "check packages with these keys, in place of the recipe's (again: several)", collect)
    .option("--lock <file>", "write down what was installed")
    .option("--locked <file>", "install what is written down there, and nothing else")
    .option("--refresh", "build anew even if the cache has a tree that is recent enough")
    .option("--no-cache", "neither use nor fill the cache")
    .option("--json", "print the result as JSON")
    .action(run(bootstrapVerb));
}

async function bootstrapVerb(context: Context, recipe: string, name: string, options: Options): Promise<number> {
  const { paths, signal } = context;
  const progress = startProgress(process.stderr, { fancy: context.fancy, title: name, env: context.env });
  let result: BootstrapResult;
  try {
    result = await bootstrap({
      recipe,
      release: options.release,
      name,
      paths,
      signal,
      packages: (options.package ?? []).map((one) => requirePackage(one, "--package")),
      commands: options.run ?? [],
      mirror: options.mirror === undefined ? undefined : requireMirror(options.mirror),
      keyrings: (options.keyring ?? []).map((path) => resolve(path)),
      lock: options.locked === undefined ? undefined : await readLock(options.locked),
      refresh: options.refresh === true,
      useCache: options.cache,
      onProgress: showOn(progress),
    });
  } finally {
    progress.end();
  }
  const { lock, ...shown } = result;
  if (options.lock !== undefined) await writeFile(options.lock, showLock(lock));
  print(`${options.json === true ? JSON.stringify({ name, ...shown }) : sentence(name, result)}\n`);
  return 0;
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function requireMirror(address: string): string {
  if (/^https?:\/\/[^\s"]+$/.test(address)) return address;
  throw new UsageError(`--mirror ${quote(address)} is no http or https address`);
}

function showOn(progress: Progress): OnProgress {
  return ({ label, fraction, done, total, item }) => {
    const count = total === null ? "" : `${done}/${total} `;
    progress.update({ label, fraction, detail: `${count}${item}`.trim() });
  };
}

function sentence(name: string, { path, recipe, release, fromCache, packages, seconds }: BootstrapResult): string {
  const origin = fromCache ? "copied from the cache" : "built";
  return `${name}: ${recipe} ${release}, ${packages} packages, ${origin} in ${seconds.toFixed(1)} s: ${path}`;
}
