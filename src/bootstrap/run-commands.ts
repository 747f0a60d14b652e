import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { clientProgram } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { quote } from "../spec/quote.ts";
import type { Network } from "./additions.ts";
import type { BuildPlan } from "./build-plan.ts";
import type { PlacedText } from "./recipe-text.ts";
import { makeEvent, type OnProgress } from "./stage.ts";

export interface CommandsOptions {
  /** Holds `tree/`. */
  readonly directory: string;
  readonly paths: Paths;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

const SHOWN_LINES = 10;
/** ms between asking a machine to end and ending it. */
const PATIENCE = 1000;

/**
 * Runs commands in a tree, each in a machine of its own as `berth run` makes one: with a range of user ids, the filter and
 * all else that confines a machine. What it changes is the tree's. @throws BerthError for the first that fails
 */
export async function runCommands(
  { commands, commandPlaces, network }: Pick<BuildPlan, "commands" | "commandPlaces" | "network">,
  options: CommandsOptions,
): Promise<void> {
  for (const [index, command] of commands.entries()) {
    const part = index / commands.length;
    options.onProgress(makeEvent("commands", { done: index, total: commands.length, item: command, part }));
    await runInMachine({ text: command, where: commandPlaces[index] ?? "" }, network, options);
  }
}

async function runInMachine(
  { text: command, where }: PlacedText,
  network: Network,
  { directory, paths, signal }: CommandsOptions,
): Promise<void> {
  // Its settings and its range are nobody's: they go with this directory. The record is where sweeps find it.
  const own = join(directory, "machine");
  await mkdir(own, { mode: 0o700 });
  const name = `bootstrap-${randomBytes(4).toString("hex")}`;
  const options = ["--settings=no", "--quiet", "--console=pipe", "--as-pid2", "--private-users-ownership=map"];
  const place = [`--directory=${join(directory, "tree")}`, `--machine=${name}`];
  const reach = network === "host" ? ["--host-network"] : [];
  const words = [clientProgram(), "run", ...options, ...reach, ...place, "--", "/bin/sh", "-c", command];
  const result = await runCommand(process.execPath, words, {
    signal,
    env: { BERTH_ROOT: "", BERTH_ETC: own, BERTH_MACHINES: own, BERTH_RUN: paths.run, BERTH_CACHE: paths.cache },
    // It takes the machine with it, and what that has on the host: killed at once it could not.
    onAbort: stop,
  }).finally(() => rm(own, { recursive: true, force: true }));
  if (result.ok) return;
  const end = result.tail.slice(-SHOWN_LINES).map((line) => `\n  ${line}`);
  throw new BerthError(`${where}: ${quote(command)} ${result.status}${end.join("")}`, {
    hint: "commands run in the finished tree, as a machine, without its services",
  });
}

/** Twice, should it take its time. */
function stop(pid: number): Disposable {
  process.kill(pid, "SIGTERM");
  const again = setInterval(() => process.kill(pid, "SIGTERM"), PATIENCE);
  return { [Symbol.dispose]: () => clearInterval(again) };
}
