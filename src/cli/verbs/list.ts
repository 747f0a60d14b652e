import type { Command } from "commander";
import { listRecords, type MachineRecord } from "../../machine/record.ts";
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
  const records = listRecords(paths);
  if (options.json === true) {
    print(`${JSON.stringify(records.map(asJson), null, 2)}\n`);
    return 0;
  }
  if (records.length === 0) say("no machines\n");
  else print(table(["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "LEADER", "NOTE"], records.map(row)));
  return 0;
}

function row(record: MachineRecord): readonly string[] {
  const note = record.weaknesses.length > 0 ? `weaker than the default: ${record.weaknesses.join("; ")}` : "";
  const { os, osVersion, leader } = record;
  return [record.name, "container", "berth", record.state, os ?? "-", osVersion ?? "-", String(leader.pid), note];
}

function asJson(record: MachineRecord) {
  return {
    name: record.name,
    class: "container",
    service: "berth",
    state: record.state,
    os: record.os,
    version: record.osVersion,
    addresses: [],
    leader: record.leader.pid,
    unit: record.unit,
    since: new Date(record.times.began).toISOString(),
    image: record.root,
    ready: record.ready,
    times: record.times,
    weaknesses: record.weaknesses,
  };
}
