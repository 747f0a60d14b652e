/** A caller who does not look: a pipe whose reader stands still or goes away, a terminal that was stopped. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, isRunning, poll } from "../lib/berth.ts";
import { probe } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe({}, "tool:setsid");

const LINES = Array.from({ length: 65_536 }, (_, i) => `${String(i).padStart(7, "0")} ${"x".repeat(55)}`);
const SHOWN = `${LINES.join("\r\n")}\r\n`;

/** Words of `berth run` for machine m that has a file of `lines` lines. */
function run(root: BerthRoot, lines: number, options: readonly string[], command: readonly string[]): string[] {
  const file = join(root.path, "lines");
  writeFileSync(file, `${LINES.slice(0, lines).join("\n")}\n`);
  return ["run", "-q", "-D", tree, "-M", "m", `--bind-ro=${file}:/lines`, ...options, "--", ...command];
}

/** Where two long texts begin to differ; undefined: nowhere. */
function difference(text: string, expected: string): string | undefined {
  if (text === expected) return undefined;
  let at = 0;
  while (text[at] === expected[at]) at++;
  const around = (all: string) => JSON.stringify(all.slice(Math.max(0, at - 40), at + 40));
  return `at ${at} of ${text.length} and ${expected.length}: ${around(text)} instead of ${around(expected)}`;
}

/** CPU time a process has used, in clock ticks: proc_pid_stat(5). */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

const READ_ONLY = "--console=read-only";
/** Nothing is given up before this many ms, and much later only if nothing works. */
const SOON = 2000;
/** A fault is too late each time, a busy host now and then. */
const TIMED = { retry: 2 };

describe("a pipe whose reader stands still", () => {
  test("holds the machine's console back, costs no time, and gets all of it when it reads on", async () => {
    await using root = berthRoot();
    await using child = root.start(...run(root, LINES.length, [READ_ONLY], probe("cat", "/lines")));
    await child.until(/^0000000/);
    child.child.stdout.pause();
    const { leader } = await root.recordWhen("m");
    await sleep(500);
    const before = ticksOf(child.pid);
    await sleep(500);
    expect(ticksOf(child.pid) - before).toBeLessThan(10);
    expect(isRunning(leader.pid)).toBe(true);
    child.child.stdout.resume();
    expect((await child.end).status).toBe(0);
    expect(difference(child.stdout, SHOWN)).toBe(undefined);
  });

  test("gets all of it, too, when the machine has long ended", async () => {
    await using root = berthRoot();
    await using child = root.start(...run(root, 4500, [READ_ONLY], probe("cat", "/lines")));
    child.child.stdout.pause();
    const { leader } = await root.recordWhen("m");
    await poll("the end of the machine", () => (isRunning(leader.pid) ? undefined : true));
    await sleep(300);
    expect(isRunning(child.pid)).toBe(true);
    child.child.stdout.resume();
    expect((await child.end).status).toBe(0);
    expect(difference(child.stdout, `${LINES.slice(0, 4500).join("\r\n")}\r\n`)).toBe(undefined);
  });

  test("does not keep SIGTERM from ending what waits for it when the machine has ended", TIMED, async () => {
    await using root = berthRoot();
    await using child = root.start(...run(root, 4500, [READ_ONLY], probe("cat", "/lines", "--", "exit", "4")));
    child.child.stdout.pause();
    const { leader } = await root.recordWhen("m");
    await poll("the end of the machine", () => (isRunning(leader.pid) ? undefined : true));
    await sleep(100);
    const since = performance.now();
    child.kill("SIGTERM");
    await poll("the end of berth", () => (isRunning(child.pid) ? undefined : true));
    expect(performance.now() - since).toBeLessThan(SOON);
    child.child.stdout.resume();
    expect(await child.end).toMatchObject({ status: 4, signal: null });
  });

  test("does not keep a machine from stopping as it should: it is given up in time", async () => {
    await using root = berthRoot();
    const init = probe("init", "--term", "--status", "5", "cat", "/lines");
    await using child = root.start(...run(root, LINES.length, [READ_ONLY], init));
    await child.until(/^0000000/m);
    child.child.stdout.pause();
    await root.recordWhen("m");
    await sleep(300);
    child.kill("SIGTERM");
    await poll("the end of berth", () => (isRunning(child.pid) ? undefined : true));
    child.child.stdout.resume();
    expect(await child.end).toMatchObject({ status: 5, signal: null });
  });

  test("is given up at once by a second signal, which kills", TIMED, async () => {
    await using root = berthRoot();
    const init = probe("init", "--term", "--on-stop", "never", "cat", "/lines");
    await using child = root.start(...run(root, LINES.length, [READ_ONLY], init));
    await child.until(/^0000000/m);
    child.child.stdout.pause();
    await root.recordWhen("m");
    await sleep(300);
    child.kill("SIGTERM");
    // Two that come before it looks would be one.
    await root.recordWhen("m", ({ state }) => state === "stopping");
    const since = performance.now();
    child.kill("SIGTERM");
    await poll("the end of berth", () => (isRunning(child.pid) ? undefined : true));
    expect(performance.now() - since).toBeLessThan(SOON);
    child.child.stdout.resume();
    expect(await child.end).toMatchObject({ status: 137, signal: null });
  });

  test("of what berth says does not keep the machine from being stopped", async () => {
    await using root = berthRoot();
    const words = ["run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("sleep", "100000")];
    const full = join(root.path, "full");
    execFileSync("mkfifo", [full]);
    const held = openSync(full, constants.O_RDWR | constants.O_NONBLOCK);
    expect(() => {
      for (;;) writeSync(held, "x".repeat(4096));
    }).toThrow("EAGAIN");
    await using child = root.spawn(["sh", "-c", `exec "$@" 2>"${full}"`, "sh", BERTH, ...words]);
    const { supervisor, leader } = await root.recordWhen("m");
    process.kill(supervisor.pid, "SIGTERM");
    await poll("the end of the machine", () => (isRunning(leader.pid) ? undefined : true));
    expect(await child.end).toMatchObject({ status: 137, signal: null });
    closeSync(held);
  });
});

describe("a terminal that is stopped", () => {
  test.each([
    ["read-only", "^S", "--console=read-only"],
    ["interactive", "stands still", "--console=interactive"],
    ["pipe", "^S", "--console=pipe"],
  ])("%s (%s): shows all of it when it goes on", async (mode, how, option) => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { end, child } = terminal.spawn([BERTH, ...run(root, 16_384, [option], probe("cat", "/lines"))], root.env);
    await terminal.until(/0000010 x/);
    if (how === "^S") terminal.type("\x13");
    else terminal.stall();
    await sleep(500);
    expect(child.exitCode).toBe(null);
    if (mode === "pipe") expect(memoryOf(root.record("m")?.supervisor.pid ?? -1)).toBeLessThan(150_000);
    if (how === "^S") terminal.type("\x11");
    else terminal.read();
    expect(await end).toEqual({ status: 0, signal: null });
    const text = `${LINES.slice(0, 16_384).join("\r\n")}\r\n`;
    await poll("all output", () => (terminal.bytes().length >= text.length ? true : undefined));
    // The terminal's own echo of ^S and ^Q, and what a cooked one adds to the line ends of a console.
    const shown = terminal.output.replace(/\^[SQ]/g, "").replaceAll("\r\r", "\r");
    expect(difference(shown, text)).toBe(undefined);
  });

  test.each([["--console=read-only"], ["--console=interactive"], ["--console=pipe"]])(
    "%s: berth can be ended all the same",
    async (option) => {
      await using root = berthRoot();
      await using terminal = openTerminal();
      const before = terminal.modes();
      const { end } = terminal.spawn([BERTH, ...run(root, LINES.length, [option], probe("cat", "/lines"))], root.env);
      await terminal.until(/0000010 x/);
      terminal.stall();
      const { supervisor } = await root.recordWhen("m");
      await sleep(300);
      process.kill(supervisor.pid, "SIGTERM");
      expect(await end).toEqual({ status: 137, signal: null });
      expect(terminal.modes()).toBe(before);
    },
  );
});

/** Peak resident memory, kB. */
function memoryOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

test("a disk that is full is a reader that is gone", async () => {
  await using root = berthRoot();
  const words = run(root, 1000, [READ_ONLY], probe("cat", "/lines", "--", "init", "--term"));
  const { status, stderr } = await root.spawn(["sh", "-c", `exec "$@" >/dev/full`, "sh", BERTH, ...words]).end;
  expect({ status, stderr }).toEqual({ status: 137, stderr: "" });
});
