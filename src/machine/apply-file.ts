import { readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { writeText } from "../host/write-text.ts";
import type { InitRequest } from "../plan/init-requests.ts";
import { recordsDirectory } from "./places.ts";

/** A bind that `apply` has made. */
export interface AppliedBind {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly owners: "noidmap" | "idmap" | "rootidmap";
}

/** How to take back what the last `apply` has changed. */
export interface Revert {
  /** ms of CLOCK_MONOTONIC, which all processes share and nobody sets: it is done then, unless somebody confirms. */
  readonly deadline: number;
  readonly bound: readonly AppliedBind[];
  readonly unbound: readonly AppliedBind[];
  /** What [Machine] of the settings said before; null: the same. Its form is the manager's. */
  readonly policy: unknown;
  /** How its init was asked before; null: the same. */
  readonly requests: { readonly poweroff: InitRequest; readonly reboot: InitRequest } | null;
}

/** What `apply` knows of a boot of a machine, in its record directory: gone with it. */
export interface ApplyState {
  readonly version: 2;
  /** Start time of its leader. */
  readonly boot: string;
  readonly binds: readonly AppliedBind[];
  readonly pending: Revert | null;
}

function pathOf(name: string, paths: Paths): string {
  return join(recordsDirectory(paths), name, "apply.json");
}

/** Of that boot. What is missing, damaged or of another version says nothing. */
export function readApply(name: string, boot: string, paths: Paths): ApplyState {
  const nothing: ApplyState = { version: 2, boot, binds: [], pending: null };
  try {
    const value = JSON.parse(readFileSync(pathOf(name, paths), "utf8")) as Partial<ApplyState> | null;
    const sound = value?.version === 2 && value.boot === boot && Array.isArray(value.binds);
    return sound ? (value as ApplyState) : nothing;
  } catch {
    return nothing;
  }
}

/** Written to a temporary name and renamed. @throws what the file system says */
export function writeApply(name: string, state: ApplyState, paths: Paths): void {
  const path = pathOf(name, paths);
  if (state.binds.length === 0 && state.pending === null) {
    rmSync(path, { force: true });
    return;
  }
  try {
    writeText(`${path}.new`, JSON.stringify(state));
    renameSync(`${path}.new`, path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return; // the machine has ended, and its directory with it
    throw error;
  }
}
