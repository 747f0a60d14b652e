import type { Paths } from "../host/paths.ts";
import type { ImageStore } from "../image/store.ts";
import type { ImageSnapshots } from "../manager/image-snapshots.ts";
import type { Manager } from "../manager/manager.ts";
import type { ThrowAways } from "../manager/throw-aways.ts";
import type { Machines } from "./machines.ts";

/** What the objects on the bus are faces of. */
export interface Services {
  readonly paths: Paths;
  readonly manager: Manager;
  readonly machines: Machines;
  readonly store: ImageStore;
  readonly snapshots: ImageSnapshots;
  readonly throwAways: ThrowAways;
  /** A line for the daemon's log. */
  readonly log: (line: string) => void;
}
