import { join } from "node:path";
import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { isFrozen } from "../machine/freeze.ts";
import { listMachines } from "../machine/record.ts";
import { type MachineView, viewOfRecord, viewOfStopped, viewOfUnknown } from "../manager/machine-view.ts";
import { DaemonClient } from "./daemon-client.ts";
import type { Context } from "./verb.ts";

/** The machines as the daemon has them; where none runs, as their records tell. */
export async function listViews({ paths }: Context, all: boolean): Promise<readonly MachineView[]> {
  const client = await DaemonClient.connect(paths);
  if (client === null) return fromRecords(paths, all);
  try {
    return await client.call("list", { all });
  } finally {
    client.close();
  }
}

function fromRecords(paths: Paths, all: boolean): readonly MachineView[] {
  const running = listMachines(paths).map((machine) =>
    machine.state === "unknown" ? viewOfUnknown(machine) : viewOfRecord(machine, isFrozen(machine)),
  );
  if (!all) return running;
  const stopped = listTrees(paths.machines)
    .filter((name) => !running.some((machine) => machine.name === name))
    .map((name) => viewOfStopped(name, join(paths.machines, name), null));
  return [...running, ...stopped].sort((a, b) => (a.name < b.name ? -1 : 1));
}
