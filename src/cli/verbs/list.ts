import { basename } from "node:path";
import type { Command } from "commander";
import { listMachines, type MachineRecord, type UnknownMachine } from "../../machine/record.ts";
import { print, say } from "../output.ts";
import { table } from "../table.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("list")
    .summary("show running machines")
    .description("Shows the machines of this root that run, with their state and what runs in them.")
    .option("--json", "print as JSON")
    .action(run(list));
}

async function list({ paths }: Context, options: { json?: boolean }): Promise<number> {
  const machines = listMachines(paths);
  if (options.json === true) {
    print(`${JSON.stringify(machines.map(asJson), null, 2)}\n`);
    return 0;
  }
  if (machines.length === 0) say("no machines\n");
  else
    print(
      table(["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "INIT", "LEADER", "NOTE"], machines.map(row)),
    );
  return 0;
}

type Machine = MachineRecord | UnknownMachine;

function row(record: Machine): readonly string[] {
  if (record.state === "unknown")
    return [
      record.name,
      "container",
      "berth",
      record.state,
      "-",
      "-",
      "-",
      "-",
      `${basename(record.file)} ${record.fault}`,
    ];
  const note = record.weaknesses.length > 0 ? `weaker than the default: ${record.weaknesses.join("; ")}` : "";
  const { name, state, os, osVersion, init } = record;
  return [
    name,
    "container",
    "berth",
    state,
    os ?? "-",
    osVersion ?? "-",
    init ?? "-",
    `${leader(record) ?? "-"}`,
    note,
  ];
}

function asJson(machine: Machine) {
  const { name, state } = machine;
  const head = { name, class: "container", service: "berth", state };
  if (machine.state === "unknown") return { ...head, ...NOTHING, reason: `${machine.file} ${machine.fault}` };
  return { ...head, ...told(machine) };
}

function told(record: MachineRecord) {
  return {
    os: record.os,
    version: record.osVersion,
    init: record.init,
    addresses: [],
    leader: leader(record),
    unit: record.unit,
    since: new Date(record.times.began).toISOString(),
    image: record.root,
    ready: record.ready,
    times: record.times,
    weaknesses: record.weaknesses,
    reason: null,
  };
}

/** Null: between two boots there is none. */
function leader(record: MachineRecord): number | null {
  return record.state === "rebooting" ? null : record.leader.pid;
}

/** The same of a machine whose record tells nothing. */
const NOTHING: { readonly [K in keyof ReturnType<typeof told>]: null | [] } = {
  ...{ os: null, version: null, init: null, addresses: [], leader: null, unit: null, since: null, image: null },
  ...{ ready: null, times: null, weaknesses: [], reason: null },
};
