import type { IdMapLine, IdMapping } from "../plan/step.ts";
import { StageProcess } from "../stage/stage-process.ts";
import { openNamespaces, writeIdMaps } from "./held-namespaces.ts";

/**
 * A user namespace with maps of its own, for mounts only: mount_setattr(2) takes maps in no other form. A stage that does nothing
 * else makes it, and the fd that is returned keeps it when that stage has ended.
 * @throws SysError naming the map that the kernel refused
 */
export async function mappingNamespace(path: string, mapping: IdMapping): Promise<number> {
  const stage = StageProcess.spawn(path);
  try {
    stage.makeAhead({ namespaces: ["user"], limits: [] });
    await writeIdMaps(stage, { gid_map: mapText(mapping.gids), uid_map: mapText(mapping.uids) });
    const [namespace] = await openNamespaces(stage, ["user"]);
    return namespace ?? -1;
  } finally {
    await stage.discard();
  }
}

/** What is on disk is the map's inside, what the kernel makes of it the outside (Documentation/filesystems/idmappings.rst). */
function mapText(lines: readonly IdMapLine[]): string {
  return lines.map(({ disk, host, count }) => `${disk} ${host} ${count}\n`).join("");
}
