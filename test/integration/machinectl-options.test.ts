/** Options as who knows machinectl(1) types them: before the verb, with no effect here, by other names; against the real one where it tells the same. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { liveMachine } from "../lib/live-machine.ts";
import { machinectlOn } from "../lib/machinectl.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

function expectUsage({ status, stdout, stderr }: End, said: string | RegExp): void {
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(said);
}

describe("options before the verb", () => {
  test("are the verb's", async () => {
    await using root = berthRoot();
    for (const words of [
      ["list"],
      ["-q", "list"],
      ["--no-pager", "list"],
      ["--no-legend", "--no-ask-password", "list"],
    ]) {
      const quiet = words.length > 1 && words[0] !== "--no-pager";
      expect(await root.berth(...words)).toMatchObject({ status: 0, stdout: "", stderr: quiet ? "" : "no machines\n" });
    }
    expect(await root.berth("-o", "json", "list")).toMatchObject({ status: 0, stdout: "[]\n", stderr: "" });
    expect(await root.berth("-q", "--root", join(root.path, "other"), "list-images")).toMatchObject({ status: 0 });
    const tree = await probeTree();
    const run = ["-q", "run", "-D", tree, "--", "/probe", "exit", "3"];
    expect(await root.berth(...run)).toEqual(await root.berth("run", "-q", ...run.slice(2)));
  });

  test("that it does not know are wrong usage, each by its name", async () => {
    await using root = berthRoot();
    expectUsage(await root.berth("-M", "deb", "shell"), /^berth: unknown option '-M'\n/);
    expectUsage(await root.berth("--jsno", "list"), /^berth: unknown option '--jsno'\nhint: did you mean --json\?\n$/);
    expectUsage(await root.berth("-q", "terminate", "m"), /^berth: unknown option '-q'\n/);
    expectUsage(await root.berth("-q", "lst"), /^berth: lst: no such verb\nhint: did you mean list\?\n$/);
    expectUsage(await root.berth("-q"), /^berth: -q: no such verb\n/);
  });

  test("and help and version are asked for as ever", async () => {
    await using root = berthRoot();
    const { stdout } = await root.berth("help");
    for (const words of [["-q", "--help"], ["--no-pager", "-h"], ["-h"]])
      expect(await root.berth(...words)).toMatchObject({ status: 0, stdout });
    expect((await root.berth("-q", "list", "--help")).stdout).toMatch(/^Usage: berth list/);
  });
});

test("show without a machine tells what machinectl show does of the manager", async (ctx) => {
  needsHere(ctx, "tool:machinectl", "no-systemd");
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "m") });
  expect((await root.berth("daemon", "start")).status).toBe(0);
  const machinectl = machinectlOn(root);
  const { stdout } = await root.berth("show");
  expect(stdout).toMatch(/^PoolPath=\/.*\nPoolUsage=\d+\nPoolLimit=\d+\n$/);
  for (const words of [[], ["--value"], ["-p", "PoolPath"], ["-p", "PoolPath", "-p", "PoolLimit"], ["-a"]])
    expect(await root.berth("show", ...words)).toMatchObject({ stdout: (await machinectl("show", ...words)).stdout });
  expect((await root.berth("show", "-P", "PoolPath")).stdout).toBe(`${root.machines}\n`);
  expect(JSON.parse((await root.berth("show", "--json")).stdout)).toMatchObject({ poolPath: root.machines });
  expectUsage(await root.berth("show", "-p", "PoolSize"), /^berth: PoolSize is no property of the manager\n/);
});

test("show tells one value alone, kill whom by both names, list-images tells itself as machinectl does", async (ctx) => {
  await using live = await liveMachine();
  const { leader } = await live.root.recordWhen("m");
  expect((await live.berth("show", "m", "-P", "Leader")).stdout).toBe(`${leader.pid}\n`);
  expect((await live.berth("-P", "leader,state", "show", "m")).stdout).toBe(`${leader.pid}\nrunning\n`);
  expect((await live.berth("show-image", "m", "-P", "Type")).stdout).toBe("directory\n");
  expect((await live.berth("list-images", "--no-legend")).stdout).toMatch(/^m +directory +no /);
  expectUsage(await live.berth("kill", "--kill-who=some", "m"), /some is neither leader nor all/);
  expect(await live.berth("kill", "--kill-who=leader", "-s", "WINCH", "m")).toMatchObject({ status: 0, stderr: "" });
  for (const words of [["--max-addresses=x"], ["--max-addresses", "-1"], ["-o", "xml"]])
    expectUsage(await live.berth("list", ...words), /x(ml)?[: ]|-1/);
  needsHere(ctx, "tool:machinectl", "no-systemd");
  expect((await live.berth("daemon", "start")).status).toBe(0);
  const theirs = JSON.parse((await machinectlOn(live.root)("list-images", "-o", "json")).stdout);
  const [ours] = JSON.parse((await live.berth("list-images", "-o", "json")).stdout);
  expect(Object.keys(ours)).toEqual(Object.keys(theirs[0]));
  expect(ours).toMatchObject({ name: "m", type: "directory", ro: false });
  // Microseconds, of which Node knows a part.
  expect(Math.abs(ours.created - theirs[0].created)).toBeLessThan(1000);
});
