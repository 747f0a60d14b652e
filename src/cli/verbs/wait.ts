import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { knownMachines } from "../../machine/known-machines.ts";
import { lookUp } from "../../machine/record.ts";
import { requireName } from "../../spec/name.ts";
import { suggest } from "../../spec/nearest.ts";
import { printable } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { say } from "../output.ts";
import { timeoutMs } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

const LOOK_MS = 50;

export function define(program: Command, run: Runner): void {
  program
    .command("wait")
    .summary("wait until a machine runs or has ended")
    .description(
      "Waits until a machine is ready (running, the default), or does not run any more (stopped). Returns at once if that is so already.",
    )
    .argument("<name>", "the machine")
    .argument("[state]", "running or stopped", "running")
    .option("--timeout <SECONDS>", "fail when it takes longer")
    .action(run(wait));
}

async function wait(context: Context, name: string, state: string, { timeout }: { timeout?: string }): Promise<number> {
  if (state !== "running" && state !== "stopped")
    throw new UsageError(`${printable(state)}: berth wait can wait for running and stopped`);
  requireName(name);
  if (state === "running") warnOfTypo(name, context.paths);
  const late = timeout === undefined ? undefined : AbortSignal.timeout(timeoutMs(timeout));
  const signal = late === undefined ? context.signal : AbortSignal.any([context.signal, late]);
  try {
    await waitFor(name, state, context, signal);
  } catch (error) {
    if (late?.aborted !== true) throw error;
    throw new BerthError(`machine ${name} is not ${state} after ${timeout} s`, { kind: "Timeout" });
  }
  return 0;
}

/** It may be started later all the same, under any name. */
function warnOfTypo(name: string, paths: Context["paths"]): void {
  const known = knownMachines(paths);
  const near = known.includes(name) ? undefined : suggest(name, known);
  if (near !== undefined) say(`berth: there is no machine ${name} yet: ${near}\n`);
}

/** Without a daemon only a berth run can start or end anything: there is nobody who tells. */
async function waitFor(name: string, state: "running" | "stopped", { paths }: Context, signal: AbortSignal) {
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    const is = (): boolean => {
      const machine = lookUp(name, paths);
      return state === "stopped" ? machine === null : machine !== null && machine.state !== "unknown" && machine.ready;
    };
    while (!is()) await sleep(LOOK_MS, undefined, { signal });
    return;
  }
  try {
    await client.call("wait", { name, state }, { signal });
  } finally {
    client.close();
  }
}
