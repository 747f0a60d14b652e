/** PrivateUsers=: which ids of the host a machine's users are, and that no two machines share any. */
import { existsSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { lockFile, unlinkLocked } from "../../src/exec/lock-file.ts";
import { isLocked } from "../../src/sys/file-lock.ts";
import { closeQuietly } from "../../src/sys/files.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

/** systemd-nspawn's registry of the ranges that containers use. */
const RANGES = "/run/systemd/nspawn-uid";

let tree = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  tree = await probeTree();
});

/** [inside, outside, count] of the machine's uid_map. */
async function map(root: BerthRoot, ...options: readonly string[]): Promise<number[]> {
  const { stdout, stderr } = await root.run(tree, options, probe("cat", "/proc/self/uid_map"));
  if (!/^\s*\d+\s+\d+\s+\d+\n$/.test(stdout)) throw new Error(`no uid_map in ${stdout}${stderr}`);
  return stdout.trim().split(/\s+/).map(Number);
}

async function base(root: BerthRoot, ...options: readonly string[]): Promise<number> {
  return (await map(root, ...options))[1] ?? -1;
}

test("PrivateUsers=no: the host's users, said loudly, with every mask still in place", async () => {
  await using root = berthRoot();
  root.settings("m", "[Exec]\nPrivateUsers=no");
  const talk = interview({
    namespaces: ["namespaces"],
    map: ["cat", "/proc/self/uid_map"],
    ids: ["ids"],
    probe: ["stat", "/probe"],
    sysctl: ["write", "/proc/sys/kernel/core_pattern", "x"],
    umount: ["umount", "/proc/sys"],
    keys: ["cat", "/proc/keys"],
    device: ["mknod", "/root/null", "b", "8", "0"],
    open: ["open-rw", "/root/null"],
  });
  const { stdout, stderr } = await root.run(tree, ["-x", "-M", "m"], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("namespaces")["user"]).toBe(readlinkSync("/proc/self/ns/user"));
  expect(answers.text("map")).toBe(readFileSync("/proc/self/uid_map", "utf8"));
  expect(answers.line("ids")).toMatchObject({ uid: 0, seccomp: 2 });
  expect(answers.line("probe")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("sysctl").error).toBe("EROFS");
  expect(answers.text("keys")).toBe("");
  expect(answers.line("open").error).toMatch(/EACCES|ENOENT/);
  expect(stderr).toContain(`no user namespace: root inside is root on the host [${root.etc}/machines/m.nspawn:2]`);
});

test("PrivateUsers=identity: a user namespace with the host's ids, said too", async () => {
  await using root = berthRoot();
  const { stdout, stderr } = await root.run(
    tree,
    ["--private-users=identity"],
    probe("cat", "/proc/self/uid_map", "--", "namespaces"),
  );
  expect(stdout).toMatch(/^\s+0\s+0\s+65536$/m);
  expect(stdout).not.toContain(readlinkSync("/proc/self/ns/user"));
  expect(stderr).toContain("its users have the same ids as the host's users [--private-users=identity]");
});

test("--private-users=BASE:SIZE: those ids, and no others", async () => {
  await using root = berthRoot();
  expect(await map(root, "--private-users=1900000000:70000")).toEqual([0, 1900000000, 70000]);
  expect(await map(root, "--private-users=1900000000")).toEqual([0, 1900000000, 65536]);
  expect(existsSync(`${RANGES}/1900000000`)).toBe(false);
});

test("PrivateUsers=pick: a machine keeps its range over runs, another gets another, and both are written down", async () => {
  await using root = berthRoot();
  const [a, b] = [await base(root, "-M", "a"), await base(root, "-M", "b")];
  expect(Math.abs(a - b)).toBeGreaterThanOrEqual(65536);
  expect(await base(root, "-M", "a")).toBe(a);
  const ledger = JSON.parse(readFileSync(join(root.machines, ".berth-ranges.json"), "utf8"));
  expect(ledger).toEqual({ version: 1, ranges: { a, b } });
});

test("pick: what is written down holds, also where another range would be picked now", async () => {
  await using root = berthRoot();
  const other = 524288 + 77 * 65536;
  const ledger = join(root.machines, ".berth-ranges.json");
  writeFileSync(ledger, JSON.stringify({ version: 1, ranges: { m: other } }));
  expect(await base(root, "-M", "m")).toBe(other);
  // What another machine has been given is passed over.
  const own = await base(root, "-M", "n");
  writeFileSync(ledger, JSON.stringify({ version: 1, ranges: { m: own } }));
  expect(await base(root, "-M", "n")).not.toBe(own);
});

test("pick: while a machine runs its range is locked for nspawn to see, and a throw-away one is not written down", async () => {
  await using root = berthRoot();
  await using child = root.start("run", "-x", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term"));
  await child.until(/^up/m);
  const { uidShift } = await root.recordWhen("m");
  expect(isLocked(`${RANGES}/${uidShift}`)).toBe(true);
  child.kill("SIGTERM");
  expect((await child.end).status).toBe(0);
  expect(existsSync(`${RANGES}/${uidShift}`)).toBe(false);
  expect(existsSync(join(root.machines, ".berth-ranges.json"))).toBe(false);
});

test("pick: machines of two roots that start at once never overlap", async () => {
  await using one = berthRoot();
  await using other = berthRoot();
  const runs = [one, other].flatMap((root) => ["a", "b", "c"].map((name) => ({ root, name })));
  for (const { root, name } of runs) await probeTree({ at: join(root.machines, name) });
  const bases = await Promise.all(
    runs.map(({ root, name }) => base(root, "-D", join(root.machines, name), "-M", name)),
  );
  expect(new Set(bases).size).toBe(runs.length);
});

test("pick: a range that another manager holds is passed over; asked for by number it is refused", async () => {
  await using root = berthRoot();
  const own = await base(root, "-M", "m");
  // As systemd-nspawn does (run-beside.test.ts has it do so).
  const path = `${RANGES}/${own}`;
  const held = lockFile(path);
  let moved = own;
  try {
    moved = await base(root, "-M", "m");
    expect(moved).not.toBe(own);
    const asked = await root.run(tree, ["-M", "m", `--private-users=${own}`], probe("cwd"));
    expect(asked).toMatchObject({ status: 125, stdout: "" });
    expect(asked.stderr).toContain(`the ids from ${own} to ${own + 65535} are in use by another running container`);
  } finally {
    unlinkLocked(path, held ?? -1);
  }
  // One that was killed leaves its file, which is no reason to move.
  const stale = `${RANGES}/${moved}`;
  closeQuietly(lockFile(stale) ?? -1);
  expect(existsSync(stale)).toBe(true);
  expect(await base(root, "-M", "m")).toBe(moved);
  expect(existsSync(stale)).toBe(false);
});

test("pick: no range left is a clear error, never another kind of machine", async () => {
  await using root = berthRoot();
  const ranges: Record<string, number> = {};
  for (let range = 524288; range <= 1878982656; range += 65536) ranges[`m${range}`] = range;
  writeFileSync(join(root.machines, ".berth-ranges.json"), JSON.stringify({ version: 1, ranges }));
  const { status, stdout, stderr } = await root.run(tree, ["-M", "m"], probe("cwd"));
  rmSync(join(root.machines, ".berth-ranges.json"));
  expect([status, stdout]).toEqual([125, ""]);
  expect(stderr).toContain("no range of 65536 ids is free");
});
