import { Faces } from "../dbus/faces.ts";
import { HotCode } from "./hot-code.ts";
import type { Images } from "./images.ts";
import type { DaemonLog } from "./log.ts";
import type { Daemon } from "./methods.ts";
import { inOperation } from "./operation.ts";

/** All that the bus needs, loaded as one. `onCalm`: many calls have come, and no more do. @throws BerthError when there is no bus, and none can be started */
export function openFaces(
  { manager, snapshots, throwAways }: Pick<Daemon, "manager" | "snapshots" | "throwAways">,
  images: Images,
  env: NodeJS.ProcessEnv,
  { log, control }: DaemonLog,
  onCalm: () => void,
): Promise<Faces> {
  const hot = new HotCode({ onCalm });
  return Faces.open({
    ...{ ...images, manager, snapshots, throwAways, env, paths: manager.paths },
    logControl: control,
    log: (line) => log.info(line),
    onAsked: () => hot.called(),
    onCall: inOperation,
    onRefusal: (text, authorised) => log[authorised ? "info" : "debug"](text),
    onError: (error, call) => {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error({ stack }, `internal error in ${call}: ${String(error)}`);
    },
  });
}
