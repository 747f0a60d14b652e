import type { MachineDetails } from "../manager/machine-details.ts";
import { DaemonClient } from "./daemon-client.ts";
import { sayUnattended } from "./say-unattended.ts";
import type { Context } from "./verb.ts";

/** What is known of a machine, whether it runs or not: by the daemon, or where none runs by what is written down. */
export async function machineDetails({ paths }: Context, name: string): Promise<MachineDetails> {
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    const { offlineDetails } = await import("../manager/offline-details.ts");
    const details = offlineDetails(name, paths);
    sayUnattended([details]);
    return details;
  }
  try {
    return await client.call("show", { name });
  } finally {
    client.close();
  }
}
