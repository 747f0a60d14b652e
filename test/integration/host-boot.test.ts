/** The host was started anew while machines ran, and what is told of them is still there: a checkout's is on the disk. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { processId } from "../../src/host/process-id.ts";
import { recordsDirectory } from "../../src/machine/places.ts";
import { berthRoot, buildBerth, isRunning } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";
import { testPaths } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const BEFORE = "00000000-1111-2222-3333-444444444444";

test("records of an earlier boot are history, whoever has their pids now; what was pending does not come, what is enabled does", async () => {
  await using root = berthRoot();
  for (const name of ["m", "pending", "enabled"]) await shellMachine(root, name);
  for (const name of ["m", "enabled"]) expect(await root.berth("start", name)).toMatchObject({ status: 0 });
  expect((await root.berth("enable", "enabled")).status).toBe(0);
  const records = recordsDirectory(testPaths(root.path));
  const [file, plan] = ["record.json", "plan.json"].map((name) => join(records, "m", name)) as [string, string];
  const [text, steps] = [readFileSync(file, "utf8"), readFileSync(plan, "utf8")];
  for (const name of ["m", "enabled"]) expect((await root.berth("terminate", name)).status).toBe(0);
  await killDaemon(root);
  // By chance others have its processes' numbers, and began at the same time after the boot.
  await using leader = root.spawn(["sleep", "1000"]);
  await using keeper = root.spawn(["sleep", "1000"]);
  mkdirSync(join(records, "m"), { recursive: true });
  const record = { ...JSON.parse(text), bootId: BEFORE, leader: processId(leader.pid), keeper: processId(keeper.pid) };
  writeFileSync(file, JSON.stringify(record), { mode: 0o600 });
  writeFileSync(plan, steps, { mode: 0o600 });
  const state = join(root.path, "run/state/pending.json");
  mkdirSync(join(root.path, "run/state"), { recursive: true });
  const pending = { version: 1, name: "pending", next: "restart", restarts: 1, failure: null, bootId: BEFORE };
  writeFileSync(state, JSON.stringify(pending));
  writeFileSync(join(root.path, "run/enabled-started"), `${BEFORE}\n`);
  // Nobody is taken for the machine, with a daemon or without.
  expect(JSON.parse((await root.berth("list", "--json")).stdout)).toEqual([]);
  expect((await root.berth("kill", "m")).stderr).toContain('no machine "m" is running');
  expect((await root.berth("daemon", "start")).status).toBe(0);
  await root.recordWhen("enabled", ({ ready: isReady }) => isReady);
  const running = JSON.parse((await root.berth("list", "--json")).stdout);
  expect(running).toMatchObject([{ name: "enabled", state: "running" }]);
  expect(existsSync(join(records, "m"))).toBe(false);
  expect(existsSync(state)).toBe(false);
  expect((await root.berth("terminate", "m")).status).toBe(1);
  expect([leader, keeper].map(({ pid }) => isRunning(pid))).toEqual([true, true]);
  for (const name of ["m", "pending"]) {
    expect(await root.berth("start", name)).toMatchObject({ status: 0 });
    expect((await root.berth("exec", name, "--", "echo", "on")).stdout).toBe("on\n");
  }
  for (const name of ["m", "pending", "enabled"]) expect((await root.berth("terminate", name)).status).toBe(0);
  expect([leader, keeper].map(({ pid }) => isRunning(pid))).toEqual([true, true]);
});
