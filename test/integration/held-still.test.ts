/** A machine that is held still for a snapshot stays so until that has ended, whoever wants something of it meanwhile. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { lockFile, unlinkLocked } from "../../src/exec/lock-file.ts";
import { type BerthRoot, buildBerth, poll } from "../lib/berth.ts";
import { imageRoot } from "../lib/image-root.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { leaseOn } from "../lib/lease.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:python3");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

function payload(root: BerthRoot, machine: string): string {
  return join(root.record(machine)?.cgroup ?? "", "payload");
}

function isFrozen(root: BerthRoot, machine: string): boolean {
  return readFileSync(join(payload(root, machine), "cgroup.events"), "utf8").includes("frozen 1");
}

/** As who makes a snapshot of it does. */
function hold(root: BerthRoot, machine: string): Disposable {
  const path = join(root.path, "run/still", machine);
  const fd = lockFile(path);
  if (fd === null) throw new Error(`${path} is locked`);
  return { [Symbol.dispose]: () => unlinkLocked(path, fd) };
}

test("who asks its init to power off waits for the snapshot's end", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  await shellMachine(root, "m");
  await done("start", "m");
  await done("pause", "m");
  const held = hold(root, "m");
  await using poweroff = root.start("poweroff", "m");
  await sleep(1000);
  expect(isFrozen(root, "m")).toBe(true);
  held[Symbol.dispose]();
  expect(await poweroff.end).toMatchObject({ status: 0 });
});

test("one that is paused, and has another name than its image, is held as well: it is not resumed meanwhile", async () => {
  await using store = await imageRoot("directory");
  const { root, machines, done, refused } = store;
  await shellMachine(root, "m");
  await using other = root.start("run", "-b", "--bind-ro=/usr", "-M", "other", "-D", join(machines, "m"));
  await other.until(/up/);
  await done("pause", "other");
  const held = hold(root, "other");
  for (const words of [
    ["resume", "other"],
    ["pause", "other"],
    ["snapshot", "m"],
  ])
    expect(await refused(...words)).toContain("machine other is having a snapshot made of it");
  held[Symbol.dispose]();
  expect(JSON.parse(await done("snapshot", "m", "--json"))).toMatchObject({ running: true, frozenMs: null });
  expect(isFrozen(root, "other")).toBe(true);
  expect(readdirSync(join(root.path, "run/still"))).toEqual([]);
  await done("terminate", "other");
});

test("a snapshot of one that somebody else let go on meanwhile fails, and leaves nothing", async () => {
  // Of what is in memory all is copied while it stands still, which takes as long as a file of it can't be opened.
  await using store = await imageRoot("directory", "tmpfs");
  const { root, machines, done } = store;
  const tree = await shellMachine(root, "m");
  writeFileSync(join(tree, "held"), "");
  await done("start", "m");
  await using lease = await leaseOn(join(tree, "held"));
  await using snapshot = root.start("snapshot", "m");
  await poll("its stop", () => isFrozen(root, "m") || undefined);
  writeFileSync(join(payload(root, "m"), "cgroup.freeze"), "0");
  await lease[Symbol.asyncDispose]();
  const { status, stderr } = await snapshot.end;
  expect([status, stderr]).toEqual([1, expect.stringContaining("somebody else let machine m go on")]);
  expect(JSON.parse(await done("snapshots", "m", "--json"))).toEqual([]);
  expect(readdirSync(machines).filter((name) => name.startsWith(".berth-making"))).toEqual([]);
  expect(readdirSync(join(root.path, "run/still"))).toEqual([]);
});
