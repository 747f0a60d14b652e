import { Faces } from "../dbus/faces.ts";
import { ImageStore } from "../image/store.ts";
import type { Manager } from "../manager/manager.ts";
import { Transfers } from "../transfer/transfers.ts";
import type { Logger } from "./log.ts";

/** All that the bus needs, loaded as one. @throws BerthError when there is no bus, and none can be started */
export function openFaces(manager: Manager, env: NodeJS.ProcessEnv, log: Logger): Promise<Faces> {
  const store = new ImageStore(manager.paths);
  // What was being made when the last daemon, or a command, was killed.
  store.sweep().catch((error: unknown) => log.warn(`could not clean up the store: ${String(error)}`));
  return Faces.open({
    ...{ manager, env, paths: manager.paths, store, transfers: new Transfers(store) },
    log: (line) => log.info(line),
    onError: (error, call) => {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error({ stack }, `internal error in ${call}: ${String(error)}`);
    },
  });
}
