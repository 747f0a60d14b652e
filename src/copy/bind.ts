import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { join, posix, resolve } from "node:path";
import { BerthError, errnoKind, errorCode } from "../errors.ts";
import { Launch, LaunchError } from "../exec/launch.ts";
import { type LiveMount, listMounts, strikeMount } from "../exec/live-mounts.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { abortedBy } from "../machine/foreground-stop.ts";
import { joinedStatus } from "../machine/join.ts";
import { damagedPlan, joinTarget } from "../machine/join-target.ts";
import { recordsDirectory } from "../machine/places.ts";
import type { MachineRecord } from "../machine/record.ts";
import { buildBind, buildUnbind, rangeOf } from "../plan/live-mounts.ts";
import type { IdMapping, LaunchPlan } from "../plan/step.ts";
import { quote } from "../spec/quote.ts";
import { SysError } from "../sys/errno.ts";
import { ARCH } from "../sys/libc.ts";

/** How the owners of what is bound are told inside: as the options of Bind= have it. */
export const BIND_OWNERS = ["noidmap", "idmap", "rootidmap"] as const;
export type BindOwners = (typeof BIND_OWNERS)[number];

export interface BindOptions {
  readonly readOnly: boolean;
  /** Make the mount point, and the directories to it, where they are missing. */
  readonly mkdir: boolean;
  readonly owners: BindOwners;
  readonly signal: AbortSignal;
}

/** Binds a file or directory of the host into a running machine, until the machine ends. */
export async function bindInto(
  machine: MachineRecord,
  source: string,
  target: string,
  options: BindOptions,
  paths: Paths,
): Promise<void> {
  const path = requireTarget(target);
  const place = joinTarget(machine, paths);
  const found = await lookAt(source);
  const plan = planned(machine, paths, () =>
    buildBind(place, {
      source: resolve(source),
      type: found.isDirectory() ? "directory" : "file",
      target: path,
      readOnly: options.readOnly,
      create: options.mkdir,
      mapping: mappingFor(options.owners, found, place.plan),
      list: listOf(machine, paths),
    }),
  );
  await perform(plan, options.signal, (error) => explainBind(machine, path, error));
}

/** Takes a bind away again. Processes inside that use what is in it go on to. */
export async function unbindFrom(
  machine: MachineRecord,
  target: string,
  { signal }: { readonly signal: AbortSignal },
  paths: Paths,
): Promise<void> {
  const path = requireTarget(target);
  const place = joinTarget(machine, paths);
  const list = listOf(machine, paths);
  const mounts = listMounts(list, machine.leader.startTime);
  if (mounts.length === 0)
    throw new BerthError(`nothing is bound into machine ${machine.name} by berth bind`, {
      hint: "what settings mount stays until the machine ends; what is mounted inside can be unmounted there",
    });
  const plan = planned(machine, paths, () =>
    buildUnbind(
      place,
      path,
      mounts.map(({ id }) => id),
    ),
  );
  const known = mounts.map((mount) => mount.target);
  await perform(plan, signal, (error) => explainUnbind(machine, path, known, error));
  const last = mounts.findLast((mount) => mount.target === path);
  if (last !== undefined) strikeMount(list, last.id);
}

/** What is bound into a boot of a machine: by this, and not by its start. */
export function boundIn(name: string, boot: string, paths: Paths): readonly LiveMount[] {
  return listMounts(join(recordsDirectory(paths), name, "binds.json"), boot);
}

function listOf({ name }: MachineRecord, paths: Paths): string {
  return join(recordsDirectory(paths), name, "binds.json");
}

function requireTarget(target: string): string {
  const path = posix.normalize(target).replace(/(?<=.)\/$/, "");
  const what = quote(target);
  if (!path.startsWith("/"))
    throw new BerthError(`${what} is no absolute path of the machine`, { kind: "InvalidArgs" });
  if (path === "/") throw new BerthError("the machine's root can't be covered", { kind: "InvalidArgs" });
  return path;
}

/** It may lie on a file system that does not answer, and nothing else is to wait for that. */
async function lookAt(source: string): Promise<Stats> {
  try {
    return await stat(source);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    throw new BerthError(`there is no ${quote(source)} on this host`, { kind: "ENOENT" });
  }
}

/** `idmap`: what is root's on the host is root's inside, and so on; `rootidmap`: what its owner has is root's. */
function mappingFor(owners: BindOwners, { uid, gid }: Stats, plan: LaunchPlan): IdMapping | null {
  const range = rangeOf(plan);
  if (owners === "noidmap" || range === null) return null;
  if (owners === "idmap") {
    const all = [{ disk: 0, host: range.base, count: range.size }];
    return { uids: all, gids: all };
  }
  const one = (id: number) => [{ disk: id, host: range.base, count: 1 }];
  return { uids: one(uid), gids: one(gid) };
}

/** They take over from the plan of the start, where a step may be missing. */
function planned(machine: MachineRecord, paths: Paths, build: () => LaunchPlan): LaunchPlan {
  try {
    return build();
  } catch (error) {
    if (error instanceof BerthError || errorCode(error) !== undefined) throw error;
    throw damagedPlan(machine.name, error, paths);
  }
}

async function perform(
  plan: LaunchPlan,
  signal: AbortSignal,
  explain: (error: LaunchError) => BerthError,
): Promise<void> {
  signal.throwIfAborted();
  const loadFilter = (): Buffer => {
    throw new Error("nothing is executed in the machine, so there is nothing to filter");
  };
  const launch = new Launch(plan, { stage: stagePath(ARCH), arch: ARCH, loadFilter });
  const abort = (): void => launch.abort(abortedBy("SIGINT", `entering machine ${plan.machine}`));
  signal.addEventListener("abort", abort);
  try {
    await launch.run();
    const status = await joinedStatus(launch);
    launch.release();
    if (status === 0) return;
    throw new BerthError(`machine ${plan.machine}: the process that mounts in it ended with status ${status}`, {
      hint: "killed it mostly was for lack of memory: see memory.max of the machine's cgroup",
    });
  } catch (error) {
    throw error instanceof LaunchError ? explain(error) : error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function explainBind(machine: MachineRecord, path: string, error: LaunchError): BerthError {
  const code = codeOf(error);
  const where = `${quote(path)} in machine ${machine.name}`;
  if (code === "ESRCH") return ended(machine, error);
  if (error.step?.kind !== "attach-inside") return error;
  const because = (what: string, hint?: string): BerthError =>
    new BerthError(what, { hint, cause: error, kind: errnoKind(error.cause) });
  if (code === "ENOENT" && error.step.args.create === null)
    return because(`there is no ${where} to mount on`, "--mkdir makes it");
  if (code === "ENOENT") return because(`${where} can't be made: a link on the way leads nowhere`);
  if (code === "EINVAL" || code === "ENOTDIR" || code === "EISDIR")
    return because(`${where} is no place for it: a directory is mounted on a directory, all else on a file`);
  if (code === "EROFS") return because(`${where} is not there, and can't be made: the file system is read-only`);
  return error;
}

function explainUnbind(machine: MachineRecord, path: string, known: readonly string[], error: LaunchError): BerthError {
  const code = codeOf(error);
  if (code === "ESRCH") return ended(machine, error);
  const hint = `bound are: ${known.join(", ")}`;
  if (error.step?.kind === "open-inside" && code === "ENOENT")
    return new BerthError(`there is no ${quote(path)} in machine ${machine.name}`, {
      hint,
      cause: error,
      kind: errnoKind(error.cause),
    });
  // The sentence says which path, and what is wrong with it.
  if (error.step?.kind === "check-mount" && error.cause instanceof BerthError) return error.cause;
  return error;
}

function ended(machine: MachineRecord, cause: LaunchError): BerthError {
  return new BerthError(`machine ${machine.name} has just ended`, { kind: "NoSuchMachine", cause });
}

function codeOf(error: LaunchError): string | undefined {
  return error.cause instanceof SysError ? error.cause.code : undefined;
}
