import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { BerthError } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import { askInit } from "../../machine/ask-init.ts";
import { findAnyMachine, findMachine } from "../../machine/find-machine.ts";
import type { MachineRecord } from "../../machine/record.ts";
import { killMachine, stopSupervisor, whenEnded } from "../../machine/signal-machine.ts";
import { allAtOnce } from "../each-machine.ts";
import { TIMEOUT_S, timeoutMs } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("poweroff")
    .alias("stop")
    .summary("ask a machine's init to shut down")
    .description(
      "Asks the init of each machine to shut down, and waits until the machines have ended. One that takes too long " +
        "is killed, which is a failure.",
    )
    .argument("<name...>", "the machines")
    .option("--no-wait", "return as soon as they are asked")
    .option("--timeout <SECONDS>", "how long a machine may take to end", String(TIMEOUT_S))
    .action(run(poweroff));
}

interface Options {
  readonly wait: boolean;
  readonly timeout: string;
}

async function poweroff({ paths }: Context, names: string[], options: Options): Promise<number> {
  const timeout = timeoutMs(options.timeout);
  return allAtOnce(names, async (name) => {
    const found = findAnyMachine(name, paths);
    const machine = found.state === "rebooting" ? found : findMachine(name, paths);
    if (options.wait) await end(machine, paths, timeout);
    else await ask(machine, paths);
  });
}

function ask(machine: MachineRecord, paths: Paths): Promise<void> {
  return machine.state === "rebooting" ? stopSupervisor(machine) : askInit(machine, "poweroff", paths);
}

const LATE = Symbol("late");

async function end(machine: MachineRecord, paths: Paths, timeout: number): Promise<void> {
  const ended = ask(machine, paths).then(() => whenEnded(machine));
  const outcome = await Promise.race([ended, sleep(timeout, LATE, { ref: false })]);
  if (outcome !== LATE) return;
  await killMachine(machine);
  // What was run to ask it was killed with it: that is no news.
  await ended.catch(() => undefined);
  throw new BerthError(`machine ${machine.name} did not end within ${timeout / 1000} s, and was killed`, {
    hint: "--timeout=SECONDS gives its services longer",
  });
}
