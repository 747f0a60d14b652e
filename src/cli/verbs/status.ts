import type { Command } from "commander";
import { findMachine } from "../../machine/find-machine.ts";
import { type Inspection, inspect } from "../../machine/inspect.ts";
import type { MachineRecord } from "../../machine/record.ts";
import type { InitName } from "../../plan/init-requests.ts";
import { printable, visible } from "../../spec/quote.ts";
import { print } from "../output.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("status")
    .summary("show one machine")
    .description("Shows a running machine: what runs in it, the state of its init, how its boot went, and where it is.")
    .argument("<name>", "the machine")
    .option("--json", "print as JSON")
    .action(run(status));
}

async function status({ paths }: Context, name: string, options: { json?: boolean }): Promise<number> {
  const machine = findMachine(name, paths);
  const inspection = await inspect(machine, paths);
  if (options.json === true) print(`${JSON.stringify({ ...machine, ...inspection }, null, 2)}\n`);
  else print(page(machine, inspection));
  return 0;
}

function page(machine: MachineRecord, { os, initState, boot, problem }: Inspection): string {
  const rows: [string, string][] = [
    [
      "State",
      `${machine.state}${machine.ready ? "" : ", not ready yet"}, since ${new Date(machine.times.began).toISOString()}`,
    ],
    ["OS", printable(os ?? "unknown")],
    ["Init", [...initWords(machine, initState), `PID ${machine.leader.pid} on the host`].join(", ")],
    ...(problem === null ? [] : [["Inside", problem] as [string, string]]),
    ["Boot", bootText(boot)],
    ["Tree", `${machine.root}${machine.layer === null ? "" : " (changes are thrown away)"}`],
    [
      "Ids",
      machine.uidShift === null ? "the host's" : `0..65535 inside are ${machine.uidShift}..${machine.uidShift + 65535}`,
    ],
    ["Cgroup", machine.cgroup],
    ...machine.weaknesses.map((what): [string, string] => ["Weaker", what]),
  ];
  return `${machine.name}\n${rows.map(([key, value]) => `  ${key.padEnd(7)} ${visible(value)}\n`).join("")}`;
}

const INIT_WORDS: ReadonlyMap<InitName, string> = new Map([
  ["stub", "the stub of ProcessTwo="],
  ["other", "unknown"],
]);

function initWords({ init }: MachineRecord, state: string | null): readonly string[] {
  const name = init === null ? "none, a command is PID 1" : (INIT_WORDS.get(init) ?? init);
  return [name, ...(state === null ? [] : [printable(state)])];
}

function bootText({ launch, init, ready }: Inspection["boot"]): string {
  const parts = [
    `launch ${ms(launch)}`,
    ...(init === null ? [] : [`init ${ms(init)}`]),
    ...(ready === null ? [] : [`ready ${ms(ready)}`]),
  ];
  const total = launch + (init ?? 0) + (ready ?? 0);
  return `${ready === null ? "" : `${ms(total)}: `}${parts.join(" + ")}`;
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
