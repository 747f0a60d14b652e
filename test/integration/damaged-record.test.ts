/** A machine that runs and whose record can't be read: it is seen, said what is wrong with, and can be ended. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type BerthRoot, berthRoot, type Running } from "../lib/berth.ts";
import { probe } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe();

async function running(root: BerthRoot, name: string): Promise<Running> {
  const child = root.start("run", "-q", "-D", tree, "-M", name, "--pipe", "-x", "--", ...probe("init", "--term"));
  await root.recordWhen(name);
  return child;
}

function file(root: BerthRoot, name: string): string {
  return join(root.path, "run/running/m", name);
}

const DAMAGE: [string, (path: string) => void, RegExp][] = [
  ["cut", (path) => writeFileSync(path, '{"version":1,"na'), /record\.json is damaged: it is cut/],
  ["of another version", (path) => writeFileSync(path, '{"version":2}'), /record\.json is of version 2/],
  ["partial", (path) => writeFileSync(path, '{"version":1,"name":"m"}'), /record\.json is damaged: wrong or missing/],
  ["missing", (path) => rmSync(path), /record\.json is not there/],
];

test.each(DAMAGE)("%s: every verb says so, others are not bothered, terminate ends it", async (_, spoil, reason) => {
  await using root = berthRoot();
  await using child = await running(root, "m");
  await using other = await running(root, "other");
  spoil(file(root, "record.json"));

  const { stdout } = await root.berth("list");
  expect(stdout).toMatch(new RegExp(`^m +container +berth +unknown( +-){5} +${reason.source}`, "m"));
  expect(stdout).toMatch(/^other +container +berth +running/m);
  const asJson = JSON.parse((await root.berth("list", "--json")).stdout);
  const unknown = { name: "m", state: "unknown", leader: null, weaknesses: [], reason: expect.stringMatching(reason) };
  expect(asJson).toEqual([expect.objectContaining(unknown), expect.objectContaining({ name: "other", reason: null })]);
  expect(Object.keys(asJson[0])).toEqual(Object.keys(asJson[1]));

  for (const words of [
    ["status", "m"],
    ["status", "m", "--json"],
    ["poweroff", "m"],
    ["reboot", "m"],
    ["exec", "m", "true"],
  ]) {
    const end = await root.berth(...words);
    expect([end.status, end.stdout]).toEqual([words[0] === "exec" ? 125 : 1, ""]);
    expect(end.stderr).toMatch(reason);
    expect(end.stderr).toMatch(/^berth: machine m runs, but \/.*\nhint: berth terminate m ends it\n$/);
  }
  expect((await root.berth("start", "m")).stderr).toMatch(/^berth: machine m is running already/);

  expect(await root.berth("terminate", "m")).toMatchObject({ status: 0, stdout: "", stderr: "" });
  expect((await child.end).status).toBe(137);
  expect((await root.run(tree, ["-M", "m"], probe("exit", "3"))).status).toBe(3);
  other.kill();
  expect((await other.end).status).toBe(0);
});

test.each([
  ["cut", '{"machine":"m","st'],
  ["without steps", '{"machine":"m","steps":[]}'],
  ["no plan", "[]"],
])("a plan that is %s is named by who needs it, and by status", async (_, text) => {
  await using root = berthRoot();
  await using child = await running(root, "m");
  writeFileSync(file(root, "plan.json"), text);
  const { status, stderr } = await root.berth("exec", "m", "--", ...probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toMatch(/^berth: \S+\/run\/running\/m\/plan\.json is damaged: .*\n$/);
  const page = await root.berth("status", "m");
  expect(page.status).toBe(0);
  expect(page.stdout).toMatch(/^ {2}Inside +\S+\/plan\.json is damaged/m);
  expect((await root.berth("poweroff", "m")).status).toBe(0);
  await child.end;
});

test.each(["{", "{}"])(
  "without its leftovers (%j) there is nothing to find it by, which is said at once",
  async (text) => {
    await using root = berthRoot();
    await using child = await running(root, "m");
    writeFileSync(file(root, "record.json"), "");
    writeFileSync(file(root, "leftovers.json"), text);
    const { status, stderr } = await root.berth("terminate", "m");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^berth: machine m can't be found: .*leftovers\.json .*\nhint: .*\n$/);
    child.kill();
    expect((await child.end).status).toBe(0);
  },
);
