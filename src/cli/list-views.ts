import { listTrees } from "../host/list-trees.ts";
import type { Paths } from "../host/paths.ts";
import { treeOf } from "../host/tree-place.ts";
import { listMachines } from "../machine/record.ts";
import { type MachineView, viewOfStopped } from "../manager/machine-view.ts";
import { listUnattended, viewOfOrphan } from "../manager/unattended.ts";
import { DaemonClient } from "./daemon-client.ts";
import { sayUnattended } from "./say-unattended.ts";
import type { Context } from "./verb.ts";

/** The machines as the daemon has them; where none runs, as their records tell. */
export async function listViews({ paths }: Context, all: boolean): Promise<readonly MachineView[]> {
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    const views = fromRecords(paths, all);
    sayUnattended(views);
    return views;
  }
  try {
    return await client.call("list", { all });
  } finally {
    client.close();
  }
}

function fromRecords(paths: Paths, all: boolean): readonly MachineView[] {
  const running = listMachines(paths).map((machine) => viewOfOrphan(machine, paths));
  const views = new Map(running.map((view) => [view.name, view]));
  for (const { view } of listUnattended(paths)) views.set(view.name, view);
  if (all)
    for (const name of listTrees(paths.machines))
      if (!views.has(name)) views.set(name, viewOfStopped(name, treeOf(paths.machines, name), null));
  return [...views.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
