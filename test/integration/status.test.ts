/** `berth status`, and what the machine it is about can do to it: berth's questions are answered by the machine's programs. */
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { MachineRecord } from "../../src/machine/record.ts";
import { type BerthRoot, berthRoot, buildBerth, poll, type Running } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");

let root: BerthRoot;
let tree = "";
let machine: Running;
let record: MachineRecord;

/** One machine for all tests, with the host's shell, and programs of its own where PATH finds them first. */
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  root = berthRoot();
  tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  for (const path of ["usr/bin", "usr/lib64", "usr/local/sbin"]) mkdirSync(join(tree, path), { recursive: true });
  const binds = ["/usr/bin", "/usr/lib", "/usr/lib64"].map((path) => `--bind-ro=${path}`);
  machine = root.start("run", "-q", "-M", "m", "-b", "--console=read-only", ...binds, "--", "--term");
  await machine.until(/^up/m);
  record = await root.recordWhen("m");
});

afterAll(async () => {
  if (!ready) return;
  machine.kill();
  expect((await machine.end).status).toBe(0);
  await root[Symbol.asyncDispose]();
});

checkLeaks();
beforeEach(() => programs("exit 1"));

/** What the machine says it runs. */
function programs(script: string): void {
  for (const name of ["systemctl", "cat"]) {
    const path = join(tree, "usr/local/sbin", name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
  }
}

const LATE = "did not end within 2 s";

/** On a busy host its programs may not have had their turn by then: they are asked again. */
async function told(words: readonly string[] = [], tries = 3): Promise<string> {
  const { status, stdout, stderr } = await root.berth("status", "m", ...words);
  expect([status, stderr]).toEqual([0, ""]);
  return tries > 1 && stdout.includes(LATE) ? told(words, tries - 1) : stdout;
}

async function status(tries?: number): Promise<Record<string, unknown>> {
  return JSON.parse(await told(["--json"], tries));
}

/** Processes of the machine besides its init. */
function others(): string[] {
  const all = readFileSync(join(record.cgroup, "payload/cgroup.procs"), "utf8").split("\n").filter(Boolean);
  return all.filter((pid) => Number(pid) !== record.leader.pid);
}

test("what init says of itself is shown", async () => {
  programs("echo SystemState=degraded; echo UnitsLoadFinishTimestampMonotonic=999999999999");
  expect(await status()).toMatchObject({ name: "m", os: "berth test probe", initState: "degraded", problem: null });
  const stdout = await told();
  expect(stdout).toMatch(/^ {2}OS +berth test probe$/m);
  expect(stdout).toMatch(/^ {2}Init +unknown, degraded, PID \d+ on the host$/m);
  expect(stdout).not.toMatch(/^ {2}Inside/m);
});

test("several machines are shown one after the other, in JSON as an array; one that is not there fails", async () => {
  const { status: code, stdout } = await root.berth("status", "m", "-n0", "n", "m");
  expect(code).toBe(1);
  expect(stdout).toMatch(/^m\n {2}State +running/);
  await probeTree({ at: join(root.machines, "off"), init: true });
  const both = await root.berth("--no-pager", "-l", "-n", "0", "status", "m", "off");
  expect([both.status, both.stderr]).toEqual([3, ""]);
  expect(both.stdout).toMatch(/^m\n {2}State +running(.*\n)*\noff\n {2}State +stopped/);
  for (const words of [["--json"], ["-o", "json"], ["--output=json-pretty"]]) {
    const told = await root.berth("status", "m", "off", ...words);
    expect(JSON.parse(told.stdout)).toMatchObject([{ name: "m" }, { name: "off", state: "stopped" }]);
    expect(told.status).toBe(3);
  }
  expect((await root.berth("status", "-o", "short", "m")).stdout).toMatch(/^m\n/);
  expect(await root.berth("status", "-o", "loud", "m")).toMatchObject({ status: 2, stdout: "" });
});

test("an init without systemctl is no problem", async () => {
  expect(await status()).toMatchObject({ os: "berth test probe", initState: null, problem: null });
});

describe("of a machine that", () => {
  test.each([
    ["never answers", "exec sleep 100000", LATE],
    ["ignores every signal it can", "trap '' TERM HUP INT PIPE; while :; do sleep 100000; done", LATE],
    ["leaves somebody behind who has its output", "sleep 100000 & exit 0", LATE],
    ["answers without end", "exec yes SystemState=running", "longer than 65536 bytes"],
  ])("%s: the rest is shown, and what was asked is killed", async (_, script, problem) => {
    programs(script);
    expect(await status(problem === LATE ? 1 : 3)).toMatchObject({
      ...{ name: "m", os: "berth test probe", initState: null },
      problem: expect.stringContaining(problem),
    });
    for (const pid of others()) {
      // Left by the script itself, in the machine, as any of its processes.
      expect(script).toMatch(/&|; do sleep/);
      process.kill(Number(pid), "SIGKILL");
    }
    await poll("nobody to be left", () => (others().length === 0 ? true : undefined));
    expect((await root.berth("exec", "m", "--", ...probe("exit", "3"))).status).toBe(3);
  });

  test("says strange things: they are made printable, and numbers are numbers", async () => {
    programs("printf 'SystemState=\\033[31mred\\nUnitsLoadFinishTimestampMonotonic=Infinity\\n'");
    const stdout = await told();
    expect(stdout).toMatch(/^ {2}Init +unknown, \\u\{1b\}\[31mred, PID/m);
    expect(stdout).not.toMatch(/Infinity|NaN/);
  });

  test("is frozen: joining it is refused instead of waited for", async () => {
    // As berth pause does, and then with all that is above, as only the host can.
    const ways = [
      ["payload", "paused", "berth resume m lets it go on"],
      [".", "frozen", "echo 0 >\\S+/cgroup\\.freeze .*"],
    ] as const;
    for (const [place, word, hint] of ways) {
      const path = join(record.cgroup, place);
      writeFileSync(join(path, "cgroup.freeze"), "1");
      try {
        const { status: code, stdout, stderr } = await root.berth("exec", "m", "--", ...probe("cwd"));
        expect([code, stdout]).toEqual([125, ""]);
        expect(stderr).toMatch(new RegExp(`^berth: machine m is ${word}\nhint: ${hint}\n$`));
        expect(await status()).toMatchObject({ os: "berth test probe", problem: `machine m is ${word}` });
      } finally {
        writeFileSync(join(path, "cgroup.freeze"), "0");
      }
    }
    expect((await root.berth("exec", "m", "--", ...probe("exit", "3"))).status).toBe(3);
  });
});

test("what makes a machine weaker than the default is shown as long as it runs, by whatever starts it", async () => {
  await using own = berthRoot();
  await probeTree({ at: join(own.machines, "w"), init: true });
  own.settings("w", "[Exec]\nBoot=yes\nCapability=CAP_SYS_TIME\n[Network]\nPrivate=no");
  const weaker = [expect.stringMatching(/CAP_SYS_TIME/), expect.stringMatching(/shares the host's network/)];
  const expectShown = async (): Promise<void> => {
    const { stdout } = await own.berth("status", "w");
    expect(stdout).toMatch(/^ {2}Weaker +it has more capabilities: CAP_SYS_TIME$/m);
    expect(stdout).toMatch(/^ {2}Weaker +it shares the host's network/m);
    const json = JSON.parse((await own.berth("status", "w", "--json")).stdout);
    expect(json.weaknesses).toEqual(expect.arrayContaining(weaker));
    expect((await own.berth("list")).stdout).toMatch(/^w .* weaker than the default: it /m);
  };
  await using run = own.start("run", "-q", "-M", "w", "-b", "--console=read-only", "--", "--term");
  await run.until(/^up/m);
  await own.recordWhen("w", ({ state }) => state === "running");
  await expectShown();
  run.kill();
  expect((await run.end).status).toBe(0);
  expect((await own.berth("start", "w")).status).toBe(0);
  await expectShown();
  expect((await own.berth("terminate", "w")).status).toBe(0);
  // What asks for it in a file that came with the image does not count, and so there is nothing to show.
  own.settings("w", "[Exec]\nBoot=yes");
  writeFileSync(join(own.machines, "w.nspawn"), "[Exec]\nCapability=CAP_SYS_TIME\n[Network]\nPrivate=no\n");
  expect((await own.berth("start", "w")).status).toBe(0);
  expect(own.record("w")).toMatchObject({ weaknesses: [] });
  expect((await own.berth("status", "w")).stdout).not.toContain("Weaker");
  expect((await own.berth("terminate", "w")).status).toBe(0);
});
