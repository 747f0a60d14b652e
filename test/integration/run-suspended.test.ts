/** A foreground machine or shell whose berth is stopped and goes on: job control of the caller's own shell. */
import { execFileSync } from "node:child_process";
import { readlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll, type Running, untilStopped } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { openTerminal, type Terminal, untilSized } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid", "tool:stty");

let root: BerthRoot;
let machine: Running;

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  root = berthRoot();
  machine = root.start(
    "run",
    "-q",
    "-D",
    await probeTree(),
    "-M",
    "m",
    "--console=passive",
    "--",
    ...probe("init", "--term"),
  );
  await root.recordWhen("m");
});

afterAll(async () => {
  if (!ready) return;
  machine.kill();
  expect((await machine.end).status).toBe(0);
  await root[Symbol.asyncDispose]();
});

checkLeaks();

async function raw(terminal: Terminal): Promise<void> {
  await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
}

const WAYS: Readonly<Record<string, readonly string[]>> = {
  run: ["run", "-q", "-x", "-M", "n", "--console=interactive", "-D", "TREE", "--"],
  "exec --tty": ["exec", "--tty", "m", "--"],
};

describe.each(Object.keys(WAYS))("berth %s", (way) => {
  async function start(terminal: Terminal) {
    const tree = await probeTree();
    const words = (WAYS[way] ?? []).map((word) => (word === "TREE" ? tree : word));
    const { child, end } = terminal.spawn([BERTH, ...words, ...probe("cwd", "--", "echo", "--", "tty")], root.env);
    await terminal.until(/cwd/);
    await raw(terminal);
    return { pid: child.pid ?? -1, end };
  }

  test("that goes on after SIGSTOP has a raw terminal again, and the machine its size of now", async () => {
    await using terminal = openTerminal({ rows: 24, columns: 80 });
    const before = terminal.modes();
    const { pid, end } = await start(terminal);
    const device = readlinkSync(`/proc/${pid}/fd/0`);
    process.kill(pid, "SIGSTOP");
    await untilStopped(pid);
    // What a shell does with its terminal when a job was stopped.
    execFileSync("stty", ["-F", device, "sane"]);
    expect(terminal.flags().canonical).toBe(true);
    terminal.resize({ rows: 30, columns: 90 });
    process.kill(pid, "SIGCONT");
    await raw(terminal);
    expect(terminal.flags().translates).toBe(false);
    const { leader } = await root.recordWhen(way === "run" ? "n" : "m");
    await untilSized(leader.pid, { rows: 30, columns: 90 });
    terminal.type("\x04");
    expect(await end).toEqual({ status: 0, signal: null });
    expect(parseProbe(terminal.output, "tty")).toMatchObject({ rows: 30, columns: 90 });
    expect(terminal.modes()).toBe(before);
  });

  test("that is suspended by SIGTSTP gives the terminal back until it goes on", async () => {
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { pid, end } = await start(terminal);
    process.kill(pid, "SIGTSTP");
    await untilStopped(pid);
    expect(terminal.modes()).toBe(before);
    process.kill(pid, "SIGCONT");
    await raw(terminal);
    terminal.type("\x04");
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.modes()).toBe(before);
  });
});

test("in the background the terminal is left to the shell, and after fg it is raw again", async () => {
  await using terminal = openTerminal();
  // Monitor mode gives each job a process group of its own, as an interactive shell does.
  const stopped = 'for i in $(seq 200); do [ -z "$(jobs -s)" ] || break; sleep 0.1; done';
  const script = `set -m; "$@"; stty sane; bg; ${stopped}; jobs; stty -a | head -n 100 | grep -o -e '-\\?icanon'; fg; echo "status $?"`;
  const words = ["exec", "--tty", "m", "--", ...probe("cwd", "--", "echo")];
  const { end } = terminal.spawn(["bash", "-c", script, "bash", BERTH, ...words], root.env);
  await terminal.until(/cwd/);
  await raw(terminal);
  const pid = Number(
    execFileSync("pgrep", ["-f", join("dist", "berth.cjs").concat(" exec --tty m")], { encoding: "utf8" }),
  );
  process.kill(pid, "SIGSTOP");
  await terminal.until(/ &\r[\s\S]*Stopped[\s\S]*^icanon/m);
  await raw(terminal);
  terminal.type("\x04");
  await terminal.until(/status 0/);
  expect(await end).toEqual({ status: 0, signal: null });
});
