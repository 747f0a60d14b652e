import { showAddressesOf } from "../machine/addresses.ts";
import type { MachineView } from "../manager/machine-view.ts";
import { inSeconds } from "../manager/timers.ts";
import { printable } from "../spec/quote.ts";
import { print, printJson, say } from "./output.ts";
import { type Cell, table } from "./table.ts";

export const NO_MACHINES = "no machines";
const COLUMNS = ["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "ADDRESSES", "INIT", "LEADER", "NOTE"];
const ADDRESSES = COLUMNS.indexOf("ADDRESSES");

/** `berth list` without other options, as a table or as JSON. */
export function showList(views: readonly MachineView[], json: boolean): void {
  const machines = views.map(withAddresses);
  if (json) printJson(machines);
  else if (machines.length === 0) say(`${NO_MACHINES}\n`);
  else {
    const { header, rows } = listTable(machines, 1);
    print(table(header, rows));
  }
}

/** What is known of a machine without its network, whose addresses nobody is told of when they change: they are looked up. */
export function withAddresses(view: MachineView): MachineView {
  return view.leader === null ? view : { ...view, addresses: showAddressesOf(view.leader) };
}

/** `addresses`: of each machine at most; 0: not their column either. */
export function listTable(machines: readonly MachineView[], addresses: number) {
  const shown = <T>(row: readonly T[]): readonly T[] => (addresses > 0 ? row : row.toSpliced(ADDRESSES, 1));
  return { header: shown(COLUMNS), rows: machines.map((view) => shown(row(view, addresses))) };
}

function row(view: MachineView, addresses: number): readonly Cell[] {
  const { name, service, state, os, version, init, leader } = view;
  const cell = (value: string | number | null): string => (value === null ? "-" : printable(String(value)));
  const network = addressCell(view.addresses, addresses);
  return [name, view.class, service, state, cell(os), cell(version), network, cell(init), cell(leader), noteOf(view)];
}

function addressCell(all: readonly string[], max: number): Cell {
  if (all.length === 0) return "-";
  return all.length <= max ? all : [...all.slice(0, max - 1), `${all[max - 1]}…`];
}

export function noteOf({ state, reason, weaknesses, restarts, startsAgain }: MachineView): string {
  const notes = [
    // Which directory that record is in says the machine's name.
    ...(reason === null ? [] : [state === "unknown" ? reason.replace(/^.*\/(?=record\.json )/, "") : reason]),
    ...(startsAgain === null ? [] : [`is started again ${inSeconds(Date.parse(startsAgain))}`]),
    ...(restarts === 0 ? [] : [`started again ${restarts === 1 ? "once" : `${restarts} times`}`]),
    ...(weaknesses.length === 0 ? [] : [`weaker than the default: ${weaknesses.join("; ")}`]),
  ];
  return printable(notes.join("; "));
}
