/**
 * Runs one verb as the command line would, as a process of its own: for tests of a verb module that need ^C, output
 * and exit status.
 *
 *   node test/lib/run-verb.ts VERB ARGS...        // what runVerb starts; BERTH_* and BERTH_TEST_RECIPES say where
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Command } from "commander";
import type { Context, Runner, VerbModule } from "../../src/cli/verb.ts";
import { BerthError } from "../../src/errors.ts";
import { findPaths } from "../../src/host/paths.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

export interface VerbRun {
  readonly child: ChildProcess;
  /** Grows while it runs. */
  readonly output: { stdout: string; stderr: string };
  readonly ended: Promise<{ readonly status: number | null; readonly signal: string | null }>;
}

export function runVerb(args: readonly string[], env: Record<string, string>): VerbRun {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...args], { env: { ...process.env, ...env } });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  const ended = once(child, "close").then(([status, signal]) => ({ status, signal }));
  return { child, output, ended };
}

async function main([verb = "", ...args]: string[]): Promise<void> {
  const { define } = (await import(`../../src/cli/verbs/${verb}.ts`)) as VerbModule;
  const found = findPaths(process.env, REPOSITORY, undefined);
  const abort = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => abort.abort());
  const context: Context = {
    paths: { ...found, recipes: process.env["BERTH_TEST_RECIPES"] ?? found.recipes },
    env: process.env,
    signal: abort.signal,
    fancy: process.stderr.isTTY && process.env["NO_COLOR"] === undefined,
  };
  const run: Runner =
    (action) =>
    async (...actionArgs) => {
      process.exitCode = await action(context, ...actionArgs);
    };
  const program = new Command();
  define(program, run);
  try {
    await program.parseAsync([verb, ...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof BerthError)) throw error;
    console.error(`berth: ${error.message}${error.hint === undefined ? "" : `\nhint: ${error.hint}`}`);
    process.exitCode = error.exitStatus;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.argv.slice(2));
