/** `berth boot`: what a start took its time for, of boots that run and of those that are kept. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { BootTimeline } from "../../src/machine/boot-timeline.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { shellMachine } from "../lib/shell-machine.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:mmdebstrap");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function timeline(root: BerthRoot, ...words: string[]): Promise<BootTimeline> {
  const { status, stdout, stderr } = await root.berth("boot", "m", "--json", ...words);
  expect([status, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as BootTimeline;
}

test("each step of the host, in order, with the setting behind it; also of a boot that has ended", async () => {
  await using root = berthRoot();
  const slow = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done";
  await shellMachine(root, "m", slow, "Bind=/tmp:/mnt");
  expect((await root.berth("start", "m")).status).toBe(0);
  const first = await timeline(root);
  expect(first).toMatchObject({ machine: "m", boot: 0, init: "other", before: null, problem: null });
  const plan = JSON.parse((await root.berth("plan", "m", "--json")).stdout) as { steps: { phase: string }[] };
  const [prepared, ...steps] = first.spans;
  expect(prepared).toMatchObject({ kind: "prepare", end: 0 });
  expect(prepared?.start).toBeLessThan(0);
  expect(steps.length).toBeGreaterThanOrEqual(plan.steps.filter(({ phase }) => phase === "host").length);
  expect(steps.every(({ kind }) => kind === "step")).toBe(true);
  let at = 0;
  for (const { start, end } of steps) {
    expect([start, (end ?? 0) >= start]).toEqual([at, true]);
    at = end ?? 0;
  }
  expect(first.executed).toBeGreaterThanOrEqual(at);
  expect(first.ready).toBeGreaterThanOrEqual(first.executed);
  expect(steps.find(({ source }) => source?.endsWith("/m.nspawn:3"))?.name).toMatch(/copy mount \/tmp /);

  const text = await root.spawn([BERTH, "boot", "m", "--all"], { env: { LC_ALL: "C.UTF-8" } }).end;
  expect(text).toMatchObject({ status: 0, stderr: "" });
  expect(text.stdout).toMatch(/^m, boot 0, began .*\n\nlaunch, until its init was executed: [\d.]+ ms\n/);
  expect(text.stdout).toMatch(/█+ +[\d.]+ ms +[\d.]+ ms {2}#\d+ wait for /);

  expect((await root.berth("poweroff", "m")).status).toBe(0);
  expect(await timeline(root, "--boot=-1")).toEqual({ ...first, boot: -1 });
  expect(await timeline(root)).toEqual({ ...first, boot: -1 });
  expect((await root.berth("start", "m")).status).toBe(0);
  expect((await timeline(root)).before).toEqual({ executed: first.executed, ready: first.ready });
  const svg = join(root.path, "boot.svg");
  expect(await root.berth("boot", "m", "--svg", svg)).toMatchObject({ status: 0, stdout: "", stderr: "" });
  expect(readFileSync(svg, "utf8")).toMatch(/^<\?xml .*<svg .*wait for.*<\/svg>\n$/s);
  expect((await root.berth("poweroff", "m")).status).toBe(0);
});

test("what there is not is said", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  const fails = async (...words: string[]) => {
    const { status, stderr } = await root.berth("boot", ...words);
    return [status, stderr.split("\n")[0]];
  };
  expect(await fails("m")).toEqual([1, "berth: machine m has not run since the host's boot"]);
  expect(await fails("n")).toEqual([1, 'berth: there is no machine "n"']);
  expect(await fails("m", "--boot=1")).toEqual([2, "berth: --boot=1 is no boot"]);
});

test("of a systemd its phases and the units that it started, until it was ready", async () => {
  const debian = await debianTree("trixie");
  await using root = berthRoot();
  execFileSync("cp", ["-a", "--reflink=auto", debian, join(root.machines, "m")]);
  expect((await root.berth("start", "m")).status).toBe(0);
  const { spans, executed, ready: end, problem } = await timeline(root);
  expect(problem).toBe(null);
  const of = (kind: string) => spans.filter((span) => span.kind === kind);
  expect(of("phase").map(({ name }) => name)).toContain("reads its units");
  const names = of("unit").map(({ name }) => name);
  expect(names).toContain("systemd-journald.service");
  expect(names).toContain("multi-user.target");
  const journal = of("unit").find(({ name }) => name === "systemd-journald.service");
  expect(journal?.start).toBeGreaterThanOrEqual(executed);
  expect(journal?.end).toBeGreaterThan(journal?.start ?? 0);
  expect(journal?.end).toBeLessThan((end ?? 0) + 50);
  // What is started later is no part of its boot.
  expect((await root.berth("exec", "m", "--", "systemctl", "start", "systemd-tmpfiles-clean.service")).status).toBe(0);
  await poll("its ready time", () => (root.record("m")?.times.ready ? true : undefined));
  expect((await timeline(root)).spans.map(({ name }) => name)).not.toContain("systemd-tmpfiles-clean.service");
  expect((await root.berth("poweroff", "m")).status).toBe(0);
  expect((await timeline(root)).problem).toMatch(/its systemd alone knew/);
});
