/** `berth top` on a real terminal: what it shows, its keys, and the terminal given back whatever happens. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll, untilStopped } from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { openTerminal, type Terminal } from "../lib/pty.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:setsid");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const BUSY = "trap 'exit 0' TERM; while :; do :; done";
const OUT = "\x1b[?1049l";

async function started(root: BerthRoot, machines: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, init] of Object.entries(machines)) await shellMachine(root, name, init);
  expect((await root.berth("start", ...Object.keys(machines))).status).toBe(0);
}

async function powerOff(root: BerthRoot, ...names: string[]): Promise<void> {
  expect((await root.berth("poweroff", ...names)).status).toBe(0);
}

function openTop(root: BerthRoot, terminal: Terminal, words: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  return terminal.spawn([BERTH, "top", "--delay=0.3", ...words], { ...root.env, LC_ALL: "C.UTF-8", ...env });
}

/** What is on the screen after the last frame has begun, as words alone. */
function screen(terminal: Terminal): readonly string[] {
  const frame = terminal.output.split("\x1b[H").at(-1) ?? "";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is told
  return frame.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").split("\r\n");
}

async function shows(terminal: Terminal, pattern: RegExp): Promise<void> {
  try {
    await poll(`${pattern}`, () => (pattern.test(screen(terminal).join("\n")) ? true : undefined));
  } catch (error) {
    throw new Error(`${error}; it shows:\n${screen(terminal).join("\n")}`);
  }
}

test("who takes most comes first; keys select, sort and power off; q gives the terminal back", async () => {
  await using root = berthRoot();
  await started(root, { busy: BUSY, idle: ENDLESS });
  await using terminal = openTerminal({ rows: 12, columns: 110 });
  const before = terminal.modes();
  const { end } = openTop(root, terminal);
  await shows(terminal, /^berth top: 2 machines, CPU [\d.]+ %.*\n {2}MACHINE .*CPU%\*.*\n> busy +running +[1-9]/);
  await shows(terminal, /\n {2}idle +running +\d\.\d .*[▁]/);
  expect(terminal.flags()).toMatchObject({ canonical: false, echo: false });
  terminal.type("NI");
  await shows(terminal, /MACHINE\*.*\n {2}idle .*\n> busy /);
  terminal.type("\x1b[A");
  await shows(terminal, /\n> idle .*\n {2}busy /);
  terminal.type("s");
  await shows(terminal, /\npower idle off\? y/);
  terminal.type("x");
  await shows(terminal, /\nEnter shell/);
  terminal.type("sy");
  await shows(terminal, /^berth top: 1 machine, .*\n.*\n> busy /);
  await shows(terminal, /\nidle has ended/);
  terminal.type("?");
  await shows(terminal, /power it off, after a y/);
  terminal.resize({ rows: 6, columns: 20 });
  terminal.type("x");
  await shows(terminal, /^berth top: 1 machine,?\n/);
  for (const line of screen(terminal)) expect(line.length).toBeLessThanOrEqual(20);
  terminal.type("q");
  expect(await end).toEqual({ status: 0, signal: null });
  expect(terminal.modes()).toBe(before);
  expect(terminal.output.startsWith("\x1b[?1049h")).toBe(true);
  expect(terminal.output.endsWith(OUT)).toBe(true);
  await powerOff(root, "busy");
});

test("Enter opens a shell in the selected machine, and its end comes back; NO_COLOR: no colours", async () => {
  await using root = berthRoot();
  await started(root, { m: ENDLESS });
  await using terminal = openTerminal({ rows: 12, columns: 100 });
  const before = terminal.modes();
  const { end } = openTop(root, terminal, ["m"], { NO_COLOR: "1", LC_ALL: "C" });
  await shows(terminal, /\n> m +running/);
  terminal.type("\r");
  await poll("the end of the screen", () => (terminal.output.includes(OUT) ? true : undefined));
  await sleep(300);
  terminal.type("echo in-$((40+2)) $container\n");
  await terminal.until(/in-42 berth/);
  const left = terminal.output.length;
  terminal.type("exit 3\n");
  await poll("the screen again", () => (terminal.output.slice(left).includes("\x1b[?1049h") ? true : undefined));
  await shows(terminal, /\n> m +running.*\n(.*\n)*the shell in m has ended: 3/);
  terminal.type("\x03");
  expect(await end).toEqual({ status: 0, signal: null });
  expect(terminal.modes()).toBe(before);
  for (const colour of ["\x1b[7m", "\x1b[1m", "\x1b[m"]) expect(terminal.output).not.toContain(colour);
  await powerOff(root, "m");
});

describe("the terminal is put back as it was", () => {
  const endings: Readonly<Record<string, { act: (pid: number) => void; status: number; boom?: true }>> = {
    "after SIGTERM": { act: (pid) => process.kill(pid, "SIGTERM"), status: 0 },
    "after SIGINT": { act: (pid) => process.kill(pid, "SIGINT"), status: 0 },
    "after SIGHUP": { act: (pid) => process.kill(pid, "SIGHUP"), status: 0 },
    "after an exception in berth itself": { act: (pid) => process.kill(pid, "SIGUSR2"), status: 1, boom: true },
  };
  test.each(Object.entries(endings))("%s", async (_, { act, status, boom = false }) => {
    await using root = berthRoot();
    const file = join(root.path, "bug.mjs");
    writeFileSync(file, "process.once('SIGUSR2', () => { throw new Error('boom'); });");
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { child, end } = openTop(root, terminal, [], boom ? { NODE_OPTIONS: `--import=${file}` } : {});
    await shows(terminal, /no machines/);
    expect(terminal.flags().canonical).toBe(false);
    act(child.pid ?? -1);
    expect(await end).toEqual({ status, signal: null });
    expect(terminal.modes()).toBe(before);
    if (boom) expect(terminal.output.endsWith(`${OUT}berth: internal error: boom\r\n`)).toBe(true);
    else expect(terminal.output.endsWith(OUT)).toBe(true);
  });

  test("while it is suspended", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { child, end } = openTop(root, terminal);
    await shows(terminal, /no machines/);
    child.kill("SIGTSTP");
    await poll("the screen of before", () => (terminal.output.endsWith(OUT) ? true : undefined));
    await untilStopped(child.pid ?? -1);
    expect(terminal.modes()).toBe(before);
    child.kill("SIGCONT");
    await poll("its own", () => (terminal.flags().canonical ? undefined : true));
    terminal.type("q");
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.modes()).toBe(before);
  });
});

test("a user who does not look holds nothing up: SIGTERM ends it", async () => {
  await using root = berthRoot();
  await using terminal = openTerminal({ rows: 200, columns: 200 });
  const { child, end } = openTop(root, terminal, ["--delay=0.25"]);
  await shows(terminal, /no machines/);
  terminal.stall();
  await sleep(2000);
  child.kill("SIGTERM");
  expect(await end).toMatchObject({ status: 0 });
  terminal.read();
});

test("without a terminal: one table, or JSON, by the daemon or the records", async () => {
  await using root = berthRoot();
  await started(root, { busy: BUSY, idle: ENDLESS });
  const table = await root.berth("top", "--delay=0.5", "--sort=name");
  expect(table).toMatchObject({ status: 0, stderr: "" });
  expect(table.stdout).toMatch(
    /^MACHINE +STATE +CPU% +MEMORY.*\nbusy +running +\d+\.\d .*\nidle +running +\d+\.\d .*\n$/,
  );

  const read = async (...words: string[]) => {
    const { status, stdout, stderr } = await root.berth("top", "--json", "--delay=0.5", ...words);
    expect([status, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout);
  };
  let both = await read();
  // It may not have had its turn in half a second.
  for (let tries = 1; tries < 5 && both.machines[0].cpu <= 5; tries++) both = await read();
  expect(Date.parse(both.time)).toBeGreaterThan(Date.now() - 60_000);
  expect(both.machines.map(({ name }: { name: string }) => name)).toEqual(["busy", "idle"]);
  expect(both.machines[0]).toMatchObject({ state: "running", leader: root.record("busy")?.leader.pid });
  expect(both.machines[0].cpu).toBeGreaterThan(5);
  expect(both.machines[0].cpuUsec).toBeGreaterThan(10_000);
  expect(both.machines[1].tasks).toBe(3); // its shell, sleep, the keeper
  expect(Object.keys(both.machines[0].pressure)).toEqual(["cpu", "memory", "io"]);
  expect((await read("idle")).machines).toMatchObject([{ name: "idle" }]);

  await killDaemon(root);
  expect((await read("busy")).machines).toMatchObject([{ name: "busy", state: "running" }]);
  await powerOff(root, "busy", "idle");
});

test("--json --follow: a line a refresh, also when the daemon goes and another comes", async () => {
  await using root = berthRoot();
  await started(root, { m: ENDLESS });
  await using top = root.start("top", "--json", "--follow", "--delay=0.3");
  const lines = (): unknown[] =>
    top.stdout
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown);
  const more = async (): Promise<void> => {
    const before = lines().length;
    await poll("two more lines", () => (lines().length >= before + 2 ? true : undefined));
  };
  await more();
  await killDaemon(root);
  await more();
  expect((await root.berth("daemon", "start")).status).toBe(0);
  await more();
  for (const line of lines()) expect(line).toMatchObject({ machines: [{ name: "m", state: "running" }] });
  top.kill("SIGINT");
  expect((await top.end).status).toBe(130);
  await powerOff(root, "m");
});

test("what does not run, or is mistyped, is said", async () => {
  await using root = berthRoot();
  await shellMachine(root, "web");
  const fails = async (...words: string[]) => {
    const { status, stdout, stderr } = await root.berth("top", ...words);
    expect(stdout).toBe("");
    return [status, stderr];
  };
  expect(await fails("web")).toEqual([1, "berth: machine web does not run\nhint: berth start web boots it\n"]);
  expect(await fails("wbe")).toEqual([1, 'berth: there is no machine "wbe"\nhint: did you mean web?\n']);
  expect((await fails("--delay=soon"))[0]).toBe(2);
  expect((await fails("--sort=size"))[0]).toBe(2);
});
