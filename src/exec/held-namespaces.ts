import { constants, openSync, writeSync } from "node:fs";
import { BerthError } from "../errors.ts";
import type { Namespace } from "../plan/step.ts";
import type { StageProcess } from "../stage/stage-process.ts";
import { closeQuietly } from "../sys/files.ts";
import { isReadable } from "../sys/poll.ts";
import { asSysError } from "./launch-error.ts";

/** What a stage has made while it waits, by the /proc files of who holds it, until a program is handed over. */
export async function openNamespaces(
  stage: StageProcess,
  namespaces: readonly Namespace[],
): Promise<readonly number[]> {
  return openOfHolder(
    stage,
    namespaces.map((namespace) => `ns/${namespace}`),
    constants.O_RDONLY,
  );
}

/** Lines of user_namespaces(7), "Defining user and group ID mappings". @throws SysError naming the map that the kernel refused */
export async function writeIdMaps(
  stage: StageProcess,
  maps: { readonly gid_map: string; readonly uid_map: string },
): Promise<void> {
  const names = ["gid_map", "uid_map"] as const;
  const opened = await openOfHolder(stage, names, constants.O_WRONLY);
  try {
    for (const [index, name] of names.entries()) {
      try {
        writeSync(opened[index] ?? -1, maps[name]);
      } catch (error) {
        throw asSysError("write", error, `${name} (${maps[name].trim().replaceAll("\n", ", ")})`);
      }
    }
  } finally {
    for (const fd of opened) closeQuietly(fd);
  }
}

async function openOfHolder(stage: StageProcess, files: readonly string[], flags: number): Promise<readonly number[]> {
  const pid = await stage.holder();
  const opened: number[] = [];
  try {
    for (const file of files) opened.push(open(`/proc/${pid}/${file}`, flags));
    // The stage lives, and does not reap its child yet: so the pid is its own.
    if (isReadable(stage.pidfd)) throw new BerthError("the stage was killed while it held the machine's namespaces");
    return opened;
  } catch (error) {
    for (const fd of opened) closeQuietly(fd);
    throw error;
  }
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    throw asSysError("open", error, path);
  }
}
