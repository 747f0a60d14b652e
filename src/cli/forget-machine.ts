import type { Paths } from "../host/paths.ts";
import { forgetHistory } from "../machine/history.ts";
import { sweepMachine } from "../machine/sweep.ts";
import { StateFiles } from "../manager/state-file.ts";
import { DaemonClient } from "./daemon-client.ts";

/** A machine whose image has gone is in no list any more, not even as failed. */
export async function forgetMachine(name: string, paths: Paths): Promise<void> {
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    new StateFiles(paths).remove(name);
    forgetHistory(name, paths);
    sweepMachine(name, paths); // what ended, and nobody has seen to
    return;
  }
  try {
    await client.call("forget", { name });
  } finally {
    client.close();
  }
}
