import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import { isFrozen } from "../../machine/freeze.ts";
import { knownMachines } from "../../machine/known-machines.ts";
import { lookUp } from "../../machine/record.ts";
import { WAIT_STATES, type WaitState } from "../../manager/protocol.ts";
import { StateFiles } from "../../manager/state-file.ts";
import { isDaemons } from "../../manager/unattended.ts";
import { requireName } from "../../spec/name.ts";
import { suggest } from "../../spec/nearest.ts";
import { printable } from "../../spec/quote.ts";
import { DaemonClient, DaemonGone } from "../daemon-client.ts";
import { needDaemon } from "../daemon-start.ts";
import { say } from "../output.ts";
import { timeoutMs } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

const LOOK_MS = 50;
/** For whoever has started berthd to start it again, as systemd does after a second (units/berthd.service). */
const NEXT_MS = 3000;

export function define(program: Command, run: Runner): void {
  program
    .command("wait")
    .summary("wait until a machine runs or has ended")
    .description(
      "Waits until a machine is ready and not paused (running, the default), does not run any more, nor is to be started again (stopped), is stopped where it is by pause (paused), " +
        "or has failed and is not started again (failed). Returns at once if that is so already.",
    )
    .argument("<name>", "the machine")
    .argument("[state]", WAIT_STATES.join(", "), "running")
    .option("--timeout <SECONDS>", "fail when it takes longer")
    .action(run(wait));
}

async function wait(
  context: Context,
  name: string,
  wanted: string,
  { timeout }: { timeout?: string },
): Promise<number> {
  const state = WAIT_STATES.find((each) => each === wanted);
  if (state === undefined)
    throw new UsageError(`${printable(wanted)}: berth wait can wait for ${WAIT_STATES.join(", ")}`);
  requireName(name);
  if (state === "running") warnOfTypo(name, context.paths);
  const late = timeout === undefined ? undefined : AbortSignal.timeout(timeoutMs(timeout));
  const signal = late === undefined ? context.signal : AbortSignal.any([context.signal, late]);
  try {
    await waitOn(name, state, context, signal);
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

/** By the next berthd where one is killed. */
async function waitOn(name: string, state: WaitState, context: Context, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      return await waitFor(name, state, context, signal);
    } catch (error) {
      if (signal.aborted || !(error instanceof DaemonGone)) throw error;
      await nextDaemon(context, signal);
    }
  }
}

/** Resolves when there is one, or has not been for some time. */
async function nextDaemon({ paths }: Context, signal: AbortSignal): Promise<void> {
  for (let left = NEXT_MS; left > 0; left -= LOOK_MS) {
    await sleep(LOOK_MS, undefined, { signal });
    const client = await DaemonClient.connect(paths);
    client?.close();
    if (client !== null) return;
  }
}

/** A daemon's machine needs one. Without a daemon only a berth run can start or end anything: there is nobody who tells. */
async function waitFor(name: string, state: WaitState, { paths, env }: Context, signal: AbortSignal): Promise<void> {
  const client =
    (await DaemonClient.connect(paths)) ??
    (process.geteuid?.() === 0 && isDaemons(name, paths) ? await needDaemon(paths, env, signal) : null);
  if (client === null) {
    while (!isNow(name, state, paths)) await sleep(LOOK_MS, undefined, { signal });
    return;
  }
  try {
    await client.call("wait", { name, state }, { signal });
  } finally {
    client.close();
  }
}

/** As the records tell. */
function isNow(name: string, state: WaitState, paths: Context["paths"]): boolean {
  const machine = lookUp(name, paths);
  if (machine === null)
    return state === "stopped" || (state === "failed" && new StateFiles(paths).read(name)?.failure != null);
  if (machine.state === "unknown" || state === "stopped" || state === "failed") return false;
  if (isFrozen(machine)) return state === "paused";
  return state === "running" && machine.ready && machine.state === "running";
}
