import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { syncPath } from "../host/to-disk.ts";
import { treeOf } from "../host/tree-place.ts";
import { checkName } from "../spec/name.ts";

/** A link to its tree for each machine that is to be started with the host: for people to see what it is about. */
function linkOf(name: string, { etc }: Paths): string {
  return join(etc, "enabled", name);
}

/** Machines that the daemon starts when it is first started after the host's boot. By name. */
export function enabledMachines({ etc }: Paths): readonly string[] {
  try {
    return readdirSync(join(etc, "enabled"))
      .filter((name) => checkName(name) === undefined)
      .sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

export function isEnabled(name: string, paths: Paths): boolean {
  return lstatSync(linkOf(name, paths), { throwIfNoEntry: false }) !== undefined;
}

/** Resolves when it is on the disk: what was said to start with the host does so after a power cut as well. False: it was already. */
export async function enableMachine(name: string, paths: Paths): Promise<boolean> {
  if (isEnabled(name, paths)) return false;
  const directory = join(paths.etc, "enabled");
  const made = mkdirSync(directory, { recursive: true, mode: 0o755 });
  symlinkSync(treeOf(paths.machines, name), linkOf(name, paths));
  await syncPath(directory);
  if (made !== undefined) await syncPath(paths.etc);
  return true;
}

/** The same. False: it was not enabled. */
export async function disableMachine(name: string, paths: Paths): Promise<boolean> {
  if (!isEnabled(name, paths)) return false;
  rmSync(linkOf(name, paths));
  await syncPath(join(paths.etc, "enabled"));
  return true;
}

/** Whether what is enabled has been started since the host's boot. */
export function wereStarted(bootId: string, paths: Paths): boolean {
  return readIfThere(startedFile(paths)) === bootId;
}

export function noteStarted(bootId: string, paths: Paths): void {
  writeFileSync(startedFile(paths), `${bootId}\n`, { mode: 0o644 });
}

function startedFile({ run }: Paths): string {
  return join(run, "enabled-started");
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return undefined;
  }
}
