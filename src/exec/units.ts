import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { parseMemberships } from "../host/cgroups.ts";
import { monotonic } from "../sys/clock.ts";
import { isPopulated } from "./cgroup.ts";

/** What systemd makes of a machine's processes, asked for by systemd's own clients. */
export interface Scope {
  readonly unit: string;
  readonly slice: string;
  /** Of the cgroup it will have. */
  readonly path: string;
}

/** With systemd, which may hang as a whole, and with each client of it. */
const PATIENCE_MS = 10_000;
const LOOK_MS = 2;

/** Whose launch it is: when that is aborted, nobody waits any more. */
export interface Asker {
  readonly aborted: AbortSignal;
}

/** A transient scope with PIDs=keeper, Delegate=yes. Waits until the keeper is in it. */
export async function startScope(
  { unit, slice, path }: Scope,
  keeper: number,
  machine: string,
  { aborted }: Asker,
): Promise<void> {
  const properties = ["PIDs", "au", "1", String(keeper), "Delegate", "b", "true", "Slice", "s", slice];
  const description = ["Description", "s", `Machine ${machine} (berth)`, "CollectMode", "s", "inactive-or-failed"];
  const call = ["call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"];
  const method = ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail"];
  const start = (): Promise<string> =>
    ask("busctl", [...call, ...method, "5", ...properties, ...description, "0"], `start ${unit} in ${slice}`, {
      aborted,
      hint: `systemctl status ${unit} says more; an old one that lingers goes with systemctl stop ${unit}`,
    });
  await start().catch(async (error: Error) => {
    if (!ALREADY_THERE.test(error.message) || !(await lingers({ unit, slice, path }, { aborted }))) throw error;
    // It may go by itself meanwhile, and then there is nothing to stop.
    await ask("systemctl", ["stop", "--", unit], `stop what is left of ${unit}`, { aborted }).catch(() => undefined);
    await start();
  });
  const deadline = monotonic() + PATIENCE_MS;
  while (!path.endsWith(cgroupOf(keeper))) {
    if (monotonic() > deadline)
      throw new BerthError(`systemd did not put the keeper into ${path} within ${PATIENCE_MS / 1000} s`, {
        hint: `it is in ${cgroupOf(keeper)}`,
      });
    await sleep(LOOK_MS, undefined, { signal: aborted });
  }
}

const ALREADY_THERE = /was already loaded or has a fragment file/;

/** Of a machine of before, in the same place and with nothing in it any more: systemd is about to drop it, or has just done so. */
async function lingers({ unit, slice, path }: Scope, { aborted }: Asker): Promise<boolean> {
  const words = ["show", "--property=LoadState", "--property=Slice", "--", unit];
  const its = (await ask("systemctl", words, `tell of ${unit}`, { aborted })).split("\n");
  if (its.includes("LoadState=not-found")) return true;
  return its.includes(`Slice=${slice}`) && !isPopulated(path);
}

/** --runtime: for as long as the unit is there. All forms that systemctl knows, since it is what reads them. */
export async function setUnitProperty(unit: string, name: string, value: string, { aborted }: Asker): Promise<void> {
  const words = ["set-property", "--runtime", "--", unit, `${name}=${value}`];
  await ask("systemctl", words, `set ${name}=${value} of ${unit}`, {
    aborted,
    hint: "systemd.resource-control(5) says what a scope takes",
  });
}

/** Otherwise systemd takes what is below the unit's cgroup for its own. */
export async function requireDelegated(unit: string, { aborted }: Asker): Promise<void> {
  const words = ["show", "--property=Delegate", "--value", "--", unit];
  const told = await ask("systemctl", words, `tell of ${unit}`, { aborted });
  if (told.trim() !== "yes")
    throw new BerthError(`--keep-unit: ${unit} has no cgroups of its own to give to a machine`, {
      hint: `Delegate=yes in ${unit} allows that`,
    });
}

/** What it prints. Killed, it may leave its question with systemd: a scope without processes goes by itself. */
function ask(
  program: string,
  words: readonly string[],
  what: string,
  { aborted, hint }: Asker & { readonly hint?: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const limits = { timeout: PATIENCE_MS, killSignal: "SIGKILL", signal: aborted } as const;
    const child = execFile(program, words, { ...limits, encoding: "utf8" }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      if (error.killed === true)
        return reject(new BerthError(`systemd did not ${what}: ${program} took more than ${PATIENCE_MS / 1000} s`));
      return reject(new BerthError(`systemd would not ${what}: ${stderr.trim() || error.message}`, { hint }));
    });
    child.stdin?.end();
  });
}

/** Of cgroup2, as the kernel names it. */
function cgroupOf(pid: number): string {
  return (
    parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8")).find(({ hierarchy }) => hierarchy === 0)?.path ?? ""
  );
}
