import type { Manager } from "../manager/manager.ts";
import type { MethodName, Methods } from "../manager/protocol.ts";
import { isDaemons } from "../manager/unattended.ts";
import { DaemonClient } from "./daemon-client.ts";
import { needDaemon } from "./daemon-start.ts";
import type { Context } from "./verb.ts";

/** What can be done with machines that run, by the daemon or, of a `berth run` where there is none, here. */
export interface Machines {
  powerOff(name: string, wait: boolean, timeout: number | null): Promise<void>;
  reboot(name: string): Promise<void>;
  terminate(name: string): Promise<void>;
  pause(name: string, frozen: boolean): Promise<void>;
  close(): void;
}

/** Does something with machines. Where one of them is a daemon's, and that does not run, it is started. */
export async function withMachines<T>(
  { paths, env }: Context,
  names: readonly string[],
  use: (machines: Machines) => Promise<T>,
): Promise<T> {
  const managed = names.some((name) => isDaemons(name, paths));
  const client = managed ? await needDaemon(paths, env) : await DaemonClient.connect(paths);
  const machines = client === null ? await ourselves(paths) : byDaemon(client);
  try {
    return await use(machines);
  } finally {
    machines.close();
  }
}

function byDaemon(client: DaemonClient): Machines {
  const ask = async <M extends MethodName>(method: M, params: Methods[M]["params"]): Promise<void> => {
    await client.call(method, params);
  };
  return {
    powerOff: (name, wait, timeout) => ask("powerOff", { name, wait, timeout }),
    reboot: (name) => ask("reboot", { name }),
    terminate: (name) => ask("terminate", { name }),
    pause: (name, frozen) => ask(frozen ? "pause" : "resume", { name }),
    close: () => client.close(),
  };
}

/** A manager that manages nothing: what others run it can do all this with. */
async function ourselves(paths: Context["paths"]): Promise<Machines> {
  const { Manager } = await import("../manager/manager.ts");
  const manager: Manager = new Manager({ paths, bootId: "", log: () => undefined });
  return {
    powerOff: (name, wait, timeout) => manager.powerOff(name, wait, timeout),
    reboot: (name) => manager.reboot(name),
    terminate: (name) => manager.terminate(name),
    pause: (name, frozen) => manager.pause(name, frozen),
    close: () => void manager.close(),
  };
}
