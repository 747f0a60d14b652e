import type { Paths } from "../host/paths.ts";
import { sweepCachedTrees } from "../image/cached-trees.ts";
import { ImageStore } from "../image/store.ts";
import { sweepDownloads } from "../transfer/download-cache.ts";
import { Transfers } from "../transfer/transfers.ts";
import type { Logger } from "./log.ts";

/** The daemon's store of images, and what is being transferred into and out of it. */
export interface Images {
  readonly store: ImageStore;
  readonly transfers: Transfers;
}

/** Loaded when clients are served already. */
export function openImages(paths: Paths, log: Logger): Images {
  const store = new ImageStore(paths, (problem) => log.error(problem));
  // What was being made when the last daemon, or a command, was killed.
  store
    .sweep()
    .then((lost) => {
      for (const name of lost)
        log.warn(`image ${name} is not whole: the host went down before it was on the disk; berth clean removes it`);
    })
    .catch((error: unknown) => log.warn(`could not clean up the store: ${String(error)}`))
    .then(() => sweepDownloads(paths.cache))
    .then(() => sweepCachedTrees(paths.cache))
    .catch((error: unknown) => log.warn(`could not clean up the cache: ${String(error)}`));
  const transfers = new Transfers(store);
  transfers.on("new", ({ id, type, local, remote }) =>
    log.info(`transfer ${id}: ${type} ${local} ${remote}`.trimEnd()),
  );
  transfers.on("removed", ({ id, log: lines }, outcome) =>
    log.info(`transfer ${id}: ${outcome}${outcome === "done" ? "" : `: ${lines.at(-1) ?? ""}`}`),
  );
  return { store, transfers };
}
