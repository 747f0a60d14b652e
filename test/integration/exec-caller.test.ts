/** `berth exec` and `berth shell` towards their caller: one who does not look, one who leaves, the way out by ^]. */
import { readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { execIn } from "../../src/machine/exec-in.ts";
import { findMachine } from "../../src/machine/find-machine.ts";
import type { ProcessCaller } from "../../src/supervise/caller.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll, type Running } from "../lib/berth.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { openTerminal, type Terminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { TEST_CACHE } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");

let root: BerthRoot;
let machine: Running;

const TEXT = Array.from({ length: 16_384 }, (_, i) => `${String(i).padStart(7, "0")} ${"x".repeat(55)}\n`).join("");

/** One machine for all tests, with the host's programs in /usr. */
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  writeFileSync(join(tree, "lines"), TEXT);
  machine = root.start("run", "-q", "-M", "m", "-b", "--console=passive", "--bind-ro=/usr", "--", "--term");
  await root.recordWhen("m");
});

afterAll(async () => {
  if (!ready) return;
  machine.kill();
  expect((await machine.end).status).toBe(0);
  await root[Symbol.asyncDispose]();
});

checkLeaks();

/** Processes of the machine besides its init. */
function commands(): string[] {
  const { cgroup, leader } = root.record("m") ?? { cgroup: "", leader: { pid: 0 } };
  const all = readFileSync(join(cgroup, "payload/cgroup.procs"), "utf8").split("\n").filter(Boolean);
  return all.filter((pid) => Number(pid) !== leader.pid);
}

const gone = () => poll("the end of the command", () => (commands().length === 0 ? true : undefined));
const raw = (terminal: Terminal) => poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));

test.each([
  ["by berthd", []],
  ["by berthd, with an option", ["--cwd=/"]],
  ["without berthd", []],
])("it has the caller's own stdin, stdout and stderr, and nothing is read ahead: %s", async (how, options) => {
  if (how.startsWith("by")) expect((await root.berth("daemon", "start")).status).toBe(0);
  const [input, output, errors] = ["in", "out", "err"].map((name) => join(root.path, name));
  writeFileSync(input ?? "", "12345the rest");
  const inodes = "stat -Lc %i /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
  const words = [
    "exec",
    ...options,
    "m",
    "--",
    "/bin/sh",
    "-c",
    `${inodes}; dd bs=5 count=1 status=none; echo wrong >&2`,
  ];
  const rest = 'exec 3<"$IN"; "$@" <&3 >"$OUT" 2>"$ERR"; status=$?; cat <&3; exit $status';
  const { status, stdout } = await root.spawn(["sh", "-c", rest, "sh", BERTH, ...words], {
    env: { IN: input, OUT: output, ERR: errors },
  }).end;
  expect({ status, stdout }).toEqual({ status: 0, stdout: "the rest" });
  const own = [input, output, errors].map((path) => String(statSync(path ?? "").ino));
  expect(readFileSync(output ?? "", "utf8")).toBe(`${own.join("\n")}\n12345`);
  expect(readFileSync(errors ?? "", "utf8")).toBe("wrong\n");
  if (how.startsWith("by")) expect((await root.berth("daemon", "stop")).status).toBe(0);
});

const ESCAPE = "\x1d".repeat(3);

describe("^] three times", () => {
  test("closes a shell: its terminal is hung up for all that run on it, and the caller's is given back", async () => {
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = terminal.spawn([BERTH, "shell", "m"], root.env);
    await terminal.until(/# $/);
    terminal.type("/probe cwd -- sleep 100000\r");
    await terminal.until(/"cwd"/);
    expect(commands()).toHaveLength(2);
    terminal.type(ESCAPE);
    expect(await end).toEqual({ status: 129, signal: null });
    expect(terminal.modes()).toBe(before);
    await gone();
  });

  test("ends a command that does not mind the hang-up, too", async () => {
    await using terminal = openTerminal();
    const script = `trap '' HUP; echo deaf; while :; do sleep 1; done`;
    const { end } = terminal.spawn([BERTH, "exec", "-t", "m", "--", "sh", "-c", script], root.env);
    await terminal.until(/deaf/);
    await raw(terminal);
    terminal.type(ESCAPE);
    expect(await end).toEqual({ status: 137, signal: null });
    await gone();
  });

  test("works while the command reads nothing", async () => {
    await using terminal = openTerminal();
    const script = "stty raw; echo deaf; /probe sleep 100000";
    const { end } = terminal.spawn([BERTH, "exec", "-t", "m", "--", "sh", "-c", script], root.env);
    await terminal.until(/deaf/);
    await raw(terminal);
    for (let i = 0; i < 40; i++) await terminal.typeSlowly("y".repeat(2000));
    await terminal.typeSlowly(ESCAPE);
    expect(await end).toEqual({ status: 129, signal: null });
    await gone();
  });
});

/** By a process of ours, for a caller whose terminal is that. */
function execHere(argv: readonly string[], terminal: Partial<ProcessCaller["terminal"]>): Promise<number> {
  const paths = findPaths({ BERTH_CACHE: TEST_CACHE }, INSTALLATION, root.path);
  const nothing = { hurry: () => undefined, giveUp: () => undefined, close: () => undefined };
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  const caller = { ...streams, ...nothing, terminal: { size: undefined, takeBack: () => undefined, ...terminal } };
  const request = { argv, terminal: true, env: {}, caller: caller as unknown as ProcessCaller };
  return execIn(findMachine("m", paths), request, paths);
}

test("a failure of berth's own leaves nothing of the command", async () => {
  const lend = (): void => {
    throw new Error("the terminal is gone");
  };
  const before = openFds("self").length;
  await expect(execHere(probe("sleep", "100000"), { lend })).rejects.toThrow("the terminal is gone");
  expect(commands()).toEqual([]);
  expect(openFds("self").length).toBe(before);
});

describe("a joiner that the machine freezes on its way in", () => {
  const freeze = (value: "0" | "1"): void =>
    writeFileSync(join(root.record("m")?.cgroup ?? "", "payload/cgroup.freeze"), value);
  afterEach(() => freeze("0"));

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("is ended by %s with berth, and nothing of it stays", async (signal, exitStatus) => {
    const end = execHere(probe("cwd"), {});
    // It has asked before whether the machine is frozen.
    freeze("1");
    const joiners = await poll("the joiner", () => (commands().length > 0 ? commands() : undefined));
    expect(joiners).toHaveLength(1);
    process.emit(signal, signal);
    await expect(end).rejects.toMatchObject({ message: `${signal} ended entering machine m`, exitStatus });
    expect(commands()).toEqual([]);
  });
});

describe("a caller who does not look", () => {
  test("gets all of the output of a command on a terminal, however late", async () => {
    await using terminal = openTerminal();
    const words = ["exec", "-t", "m", "--", "sh", "-c", "/probe cat /lines; exit 3"];
    const { end } = terminal.spawn([BERTH, ...words], root.env);
    await terminal.until(/0000010 x/);
    terminal.stall();
    await sleep(700);
    terminal.read();
    await terminal.until(/0016000 x/);
    terminal.stall();
    await gone();
    await sleep(300);
    terminal.read();
    expect(await end).toEqual({ status: 3, signal: null });
    const expected = TEXT.replaceAll("\n", "\r\n");
    await poll("all output", () => (terminal.bytes().length >= expected.length ? true : undefined));
    expect(terminal.output === expected).toBe(true);
  });

  test("gets the last lines of a command that has long ended", async () => {
    await using child = root.start("exec", "-t", "m", "--", "sh", "-c", "/probe cat /lines | head -c 400000");
    await child.until(/0000000/);
    child.child.stdout.pause();
    await sleep(300);
    child.child.stdout.resume();
    await child.end;
    expect(child.stdout === TEXT.slice(0, 400_000).replaceAll("\n", "\r\n")).toBe(true);
  });

  test.each([
    ["with --tty", ["--tty"]],
    ["without", []],
  ])("%s: can end it by a signal all the same", async (_, tty) => {
    await using terminal = openTerminal();
    const before = terminal.modes();
    const words = ["exec", ...tty, "m", "--", ...probe("cat", "/lines", "--", "cat", "/lines")];
    const { child, end } = terminal.spawn([BERTH, ...words], root.env);
    await terminal.until(/0000010 x/);
    terminal.stall();
    await sleep(300);
    process.kill(child.pid ?? -1, "SIGTERM");
    expect(await end).toEqual({ status: 143, signal: null });
    expect(terminal.modes()).toBe(before);
    await gone();
  });
});

describe("without --tty on a terminal", () => {
  test("a job left in the background does not hold the command up", async () => {
    await using terminal = openTerminal();
    const script = "/probe sleep 3000 & echo started; exit 3";
    const { end } = terminal.spawn([BERTH, "exec", "m", "--", "sh", "-c", script], root.env);
    await end;
    expect(commands().length).toBeGreaterThan(0);
    expect(await end).toEqual({ status: 3, signal: null });
    expect(terminal.output).toBe("started\r\n");
    await gone();
  });

  test("a terminal that is closed is a closed pipe to the command", async () => {
    await using terminal = openTerminal();
    const script = `trap '' HUP; yes; echo "ended $?" >/ended`;
    terminal.spawn([BERTH, "exec", "m", "--", "sh", "-c", script], root.env);
    await terminal.until(/y\r\ny\r\n/);
    terminal.hangUp();
    await gone();
    expect(readFileSync(join(root.machines, "m/ended"), "utf8")).toMatch(/^ended (141|1)\n/);
  });

  test("a machine that ends while it is entered is an error, and berth ends", async () => {
    await using terminal = openTerminal();
    const record = join(root.path, "run/running/m/plan.json");
    const plan = readFileSync(record);
    writeFileSync(record, "nonsense");
    try {
      const { end } = terminal.spawn([BERTH, "exec", "m", "--", ...probe("echo")], root.env);
      expect((await end).status).toBe(125);
    } finally {
      writeFileSync(record, plan);
    }
  });
});

test("what it reads of a pipe ends with the reader, and the status is the command's", async () => {
  const pipeline = `("$@"; echo "status $?" >&2) | head -n 1`;
  const words = [BERTH, "exec", "m", "--", "sh", "-c", "yes; exit 5"];
  const { stdout, stderr } = await root.spawn(["sh", "-c", pipeline, "sh", ...words]).end;
  expect([stdout, stderr]).toEqual(["y\n", "status 5\n"]);
});
