import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { parseMemberships } from "../host/cgroups.ts";

/** What systemd makes of a machine's processes, asked for by systemd's own clients. */
export interface Scope {
  readonly unit: string;
  readonly slice: string;
  /** Of the cgroup it will have. */
  readonly path: string;
}

const PATIENCE_MS = 10_000;

/** A transient scope with PIDs=keeper, Delegate=yes. Waits until the keeper is in it. */
export function startScope({ unit, slice, path }: Scope, keeper: number, machine: string): void {
  const properties = ["PIDs", "au", "1", String(keeper), "Delegate", "b", "true", "Slice", "s", slice];
  const description = ["Description", "s", `Machine ${machine} (berth)`, "CollectMode", "s", "inactive-or-failed"];
  const call = ["call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"];
  const method = ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail"];
  ask("busctl", [...call, ...method, "5", ...properties, ...description, "0"], `start ${unit} in ${slice}`, {
    hint: `systemctl status ${unit} says more; an old one that lingers goes with systemctl stop ${unit}`,
  });
  const deadline = Date.now() + PATIENCE_MS;
  while (!path.endsWith(cgroupOf(keeper))) {
    if (Date.now() > deadline)
      throw new BerthError(`systemd did not put the keeper into ${path} within ${PATIENCE_MS / 1000} s`, {
        hint: `it is in ${cgroupOf(keeper)}`,
      });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  }
}

/** --runtime: for as long as the unit is there. All forms that systemctl knows, since it is what reads them. */
export function setUnitProperty(unit: string, name: string, value: string): void {
  ask("systemctl", ["set-property", "--runtime", "--", unit, `${name}=${value}`], `set ${name}=${value} of ${unit}`, {
    hint: "systemd.resource-control(5) says what a scope takes",
  });
}

/** Otherwise systemd takes what is below the unit's cgroup for its own. */
export function requireDelegated(unit: string): void {
  const told = ask("systemctl", ["show", "--property=Delegate", "--value", "--", unit], `tell of ${unit}`, {});
  if (told.trim() !== "yes")
    throw new BerthError(`--keep-unit: ${unit} has no cgroups of its own to give to a machine`, {
      hint: `Delegate=yes in ${unit} allows that`,
    });
}

function ask(program: string, words: readonly string[], what: string, options: { readonly hint?: string }): string {
  try {
    return execFileSync(program, words, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    throw new BerthError(`systemd would not ${what}: ${said || String(error)}`, options);
  }
}

/** Of cgroup2, as the kernel names it. */
function cgroupOf(pid: number): string {
  return (
    parseMemberships(readFileSync(`/proc/${pid}/cgroup`, "utf8")).find(({ hierarchy }) => hierarchy === 0)?.path ?? ""
  );
}
