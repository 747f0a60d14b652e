import { showAddressesOf } from "../machine/addresses.ts";
import type { MachineView } from "../manager/machine-view.ts";
import { inSeconds } from "../manager/timers.ts";
import { printable } from "../spec/quote.ts";
import { print, printJson, say } from "./output.ts";
import { table } from "./table.ts";

/** `berth list`, as a table or as JSON. */
export function showList(machines: readonly MachineView[], json: boolean): void {
  if (json) printJson(machines.map(withAddresses));
  else if (machines.length === 0) say("no machines\n");
  else
    print(
      table(["MACHINE", "CLASS", "SERVICE", "STATE", "OS", "VERSION", "INIT", "LEADER", "NOTE"], machines.map(row)),
    );
}

/** What is known of a machine without its network, whose addresses nobody is told of when they change. */
function withAddresses(view: MachineView): MachineView {
  return view.leader === null ? view : { ...view, addresses: showAddressesOf(view.leader) };
}

function row(view: MachineView): readonly string[] {
  const { name, service, state, os, version, init, leader } = view;
  const cells = [os, version, init, leader].map((cell) => (cell === null ? "-" : printable(String(cell))));
  return [name, view.class, service, state, ...cells, note(view)];
}

function note({ state, reason, weaknesses, restarts, startsAgain }: MachineView): string {
  const notes = [
    // Which directory that record is in says the machine's name.
    ...(reason === null ? [] : [state === "unknown" ? reason.replace(/^.*\/(?=record\.json )/, "") : reason]),
    ...(startsAgain === null ? [] : [`is started again ${inSeconds(Date.parse(startsAgain))}`]),
    ...(restarts === 0 ? [] : [`started again ${restarts === 1 ? "once" : `${restarts} times`}`]),
    ...(weaknesses.length === 0 ? [] : [`weaker than the default: ${weaknesses.join("; ")}`]),
  ];
  return printable(notes.join("; "));
}
