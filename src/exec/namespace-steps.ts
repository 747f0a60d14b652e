import { closeSync, constants, writeFileSync, writeSync } from "node:fs";
import { BerthError, errorCode } from "../errors.ts";
import { setMountAttributes } from "../sys/mounts.ts";
import { blameSubmounts } from "./blame-submounts.ts";
import type { Action } from "./host-steps.ts";
import { asSysError } from "./launch-error.ts";

export type NamespaceKinds = "open-namespaces" | "write-id-maps" | "map-owners" | "set-oom-score";

/** Host steps on the namespaces that were made ahead, and on processes of the stage by their /proc files. */
export const NAMESPACES: { readonly [K in NamespaceKinds]: Action<K> } = {
  "open-namespaces": async ({ namespaces }, launch) => {
    const opened = await launch.stage.openOfHolder(namespaces.map((namespace) => `ns/${namespace}`));
    namespaces.forEach((namespace, index) => {
      launch.fds.name(`${namespace}-namespace`, opened[index] ?? -1);
    });
  },

  "write-id-maps": async ({ base, size }, launch) => {
    const maps = ["gid_map", "uid_map"];
    const opened = await launch.stage.openOfHolder(maps, constants.O_WRONLY);
    let map = "";
    try {
      for (const [index, fd] of opened.entries()) {
        map = maps[index] ?? "";
        writeSync(fd, `0 ${base} ${size}\n`);
      }
    } catch (error) {
      throw asSysError("write", error, map);
    } finally {
      for (const fd of opened) closeSync(fd);
    }
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
