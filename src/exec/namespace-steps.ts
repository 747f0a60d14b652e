import { writeFileSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { setMountAttributes } from "../sys/mounts.ts";
import { blameSubmounts } from "./blame-submounts.ts";
import { openNamespaces, writeIdMaps } from "./held-namespaces.ts";
import type { Action } from "./host-steps.ts";

export type NamespaceKinds = "open-namespaces" | "write-id-maps" | "map-owners" | "set-oom-score";

/** Host steps on the namespaces that were made ahead, and on processes of the stage by their /proc files. */
export const NAMESPACES: { readonly [K in NamespaceKinds]: Action<K> } = {
  "open-namespaces": async ({ namespaces }, launch) => {
    const opened = await openNamespaces(launch.stage.spawned, namespaces);
    namespaces.forEach((namespace, index) => {
      launch.fds.name(`${namespace}-namespace`, opened[index] ?? -1);
    });
  },

  "write-id-maps": ({ base, size }, launch) => {
    const map = `0 ${base} ${size}\n`;
    return writeIdMaps(launch.stage.spawned, { gid_map: map, uid_map: map });
  },

  "map-owners": async ({ fd, recursive, mapping }, launch) => {
    const idmap = mapping === null ? launch.fds.get("user-namespace") : await launch.mappingNamespace(mapping);
    try {
      setMountAttributes(launch.fds.get(fd), { idmap }, recursive, launch.pathOf(fd));
    } catch (error) {
      throw recursive ? blameSubmounts(error, launch.pathOf(fd)) : error;
    }
  },

  "set-oom-score": ({ of, score }, launch) => {
    try {
      if (of === "init") launch.writeLeaderFile("oom_score_adj", `${score}\n`);
      // Our child and not reaped yet, so the pid is its own.
      else writeFileSync(`/proc/${launch.keeperPid}/oom_score_adj`, `${score}\n`);
    } catch (error) {
      if (errorCode(error) !== "EACCES") throw error;
      const hint = "berth has no CAP_SYS_RESOURCE here, and without it no score can be lower than its own";
      throw new BerthError((error as Error).message, { hint, cause: error });
    }
  },
};
