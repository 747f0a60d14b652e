/** `berth run` on a real terminal: modes, sizes, keys, and the terminal given back whatever happens. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, childrenOf, poll, untilStopped } from "../lib/berth.ts";
import { parseProbe, probe } from "../lib/probe.ts";
import { openTerminal, type Terminal, untilSized } from "../lib/pty.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree } = setUpProbe({}, "tool:setsid", "tool:stty");

const CONTROL_C = "\x03";
const CONTROL_D = "\x04";
const ESCAPE = "\x1d";

function run(root: BerthRoot, terminal: Terminal, options: readonly string[], command: readonly string[], env = {}) {
  const argv = [BERTH, "run", "-q", "-D", tree, "-M", "m", ...options, "--", ...command];
  return terminal.spawn(argv, { ...root.env, ...env });
}

/** When what is typed goes to the machine. */
async function connected(root: BerthRoot, terminal: Terminal): Promise<void> {
  await terminal.until(/up/);
  await root.recordWhen("m");
  await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
}

const INIT = probe("init", "--term");

/** A bug of berth's that a signal brings out, SIGUSR2. */
function bug(root: BerthRoot): string {
  const file = join(root.path, "bug.mjs");
  writeFileSync(file, "process.once('SIGUSR2', () => { throw new Error('boom'); });");
  return file;
}

test("the machine's console has the terminal's size from the start, follows it, and passes every byte on unchanged", async () => {
  await using root = berthRoot();
  await using terminal = openTerminal({ rows: 33, columns: 99 });
  const before = terminal.modes();
  const { end } = run(root, terminal, [], probe("tty", "--", "env", "--", "echo", "--", "tty"));
  await terminal.until(/"verb":"env"/);
  await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
  expect(terminal.flags()).toEqual({ signals: false, canonical: false, echo: false, translates: false });
  terminal.resize({ rows: 50, columns: 132 });
  await untilSized((await root.recordWhen("m")).leader.pid, { rows: 50, columns: 132 });
  terminal.type(CONTROL_D);
  expect(await end).toEqual({ status: 0, signal: null });
  const [first, env, second] = parseProbe(terminal.output);
  const console = { isatty: [true, true, true], controlling: true, echo: true, canonical: true };
  expect(first).toMatchObject({ ...console, rows: 33, columns: 99 });
  expect(env?.["env"]).toMatchObject({ TERM: "vt220" });
  expect(second).toMatchObject({ rows: 50, columns: 132 });
  expect(terminal.output.split("\r\n")).toHaveLength(4);
  expect(terminal.output).not.toContain("\r\r");
  expect(terminal.modes()).toBe(before);
});

describe("the terminal is put back as it was", () => {
  const endings: Record<
    string,
    { act: Act; status: number; options?: string[]; command?: string[]; throws?: boolean; says?: RegExp }
  > = {
    "after SIGTERM": { act: ({ pid }) => void process.kill(pid, "SIGTERM"), status: 0, says: /^up\r\nstopping\r\n$/ },
    "after SIGINT, SIGQUIT": {
      act: async ({ pid }) => {
        process.kill(pid, "SIGINT");
        await sleep(50);
        process.kill(pid, "SIGQUIT");
      },
      status: 137,
      command: probe("init", "--term", "--on-stop", "never"),
      options: ["--kill-signal=SIGTERM"],
    },
    "when the payload is killed": { act: ({ leader }) => void process.kill(leader, "SIGKILL"), status: 137 },
    "after ^] three times": { act: ({ terminal }) => terminal.type(ESCAPE.repeat(3)), status: 137 },
    "after an exception in berth itself": {
      act: ({ pid }) => void process.kill(pid, "SIGUSR2"),
      status: 125,
      throws: true,
      says: /^up\r\nberth: internal error: boom\r\n$/,
    },
  };
  type Act = (running: { pid: number; leader: number; terminal: Terminal }) => void | Promise<void>;

  test.each(Object.entries(endings))(
    "%s",
    async (_, { act, status, options = [], command = INIT, throws = false, says = /up/ }) => {
      await using root = berthRoot();
      const env = throws ? { NODE_OPTIONS: `--import=${bug(root)}` } : {};
      await using terminal = openTerminal();
      const before = terminal.modes();
      const { child, end } = run(root, terminal, options, command, env);
      await connected(root, terminal);
      const record = root.record("m");
      await act({ pid: child.pid ?? -1, leader: record?.leader.pid ?? -1, terminal });
      expect(await end).toEqual({ status, signal: null });
      expect(terminal.modes()).toBe(before);
      await terminal.until(says);
      expect(terminal.output).not.toContain("    at ");
      // An exception takes berth away before it could clean up: the next run does.
      if (throws) await root.run(tree, ["-M", "m"], probe("cwd"));
    },
  );

  test("when the machine cannot be started", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = run(root, terminal, [], ["/no/such/program"]);
    expect(await end).toEqual({ status: 127, signal: null });
    expect(terminal.modes()).toBe(before);
    expect(terminal.output).toMatch(/^berth: starting m failed .*ENOENT.*\r\nhint: .*\r\n$/);
  });
});

test("when the terminal is hung up the machine is asked to stop, and nothing of it is left", async () => {
  await using root = berthRoot();
  await using terminal = openTerminal();
  const { end } = run(root, terminal, ["--kill-signal=SIGTERM"], probe("init", "--term", "--status", "3"));
  await connected(root, terminal);
  terminal.hangUp();
  // Its own stop and its own status: it was not killed.
  expect(await end).toEqual({ status: 3, signal: null });
});

describe("keys", () => {
  test("^C goes to the foreground of the machine's console, not to berth", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { child, end } = run(root, terminal, [], [...INIT, "echo"]);
    await connected(root, terminal);
    const leader = root.record("m")?.leader.pid ?? -1;
    await poll("the payload's child", () => (childrenOf(leader).length === 1 ? true : undefined));
    terminal.type(CONTROL_C);
    await poll("the end of the payload's child", () => (childrenOf(leader).length === 0 ? true : undefined));
    expect(root.record("m")?.state).toBe("running");
    await terminal.until(/\^C/); // echoed by the machine's console
    child.kill("SIGTERM");
    expect(await end).toEqual({ status: 0, signal: null });
  });

  test("^] twice and another key are passed on and do nothing", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { child, end } = run(root, terminal, [], INIT);
    await connected(root, terminal);
    terminal.type(`${ESCAPE}${ESCAPE}x`);
    await terminal.until(/\^\]\^\]x/); // echoed by the machine's console
    terminal.type(ESCAPE);
    await sleep(50);
    expect(root.record("m")?.state).toBe("running");
    child.kill("SIGTERM");
    expect(await end).toEqual({ status: 0, signal: null });
  });
});

test("a reader that is slow gets a megabyte of console output whole and in order", async () => {
  await using root = berthRoot();
  await using terminal = openTerminal();
  const lines = Array.from({ length: 16384 }, (_, i) => `${String(i).padStart(7, "0")} ${"x".repeat(55)}`);
  const file = join(root.path, "lines");
  writeFileSync(file, `${lines.join("\n")}\n`);
  const { end } = run(root, terminal, [`--bind-ro=${file}:/lines`], probe("cat", "/lines"));
  await terminal.until(/0000010 x/);
  terminal.stall();
  await sleep(500);
  terminal.read();
  expect(await end).toEqual({ status: 0, signal: null });
  await poll("all output", () => (terminal.bytes().length >= lines.length * 65 ? true : undefined));
  expect(terminal.output).toBe(`${lines.join("\r\n")}\r\n`);
});

describe("--background", () => {
  const BLUE = "\x1b]11;rgb:00/00/ee\x1b\\";
  const NONE = "\x1b]111\x1b\\";

  test("--background=COLOR: the terminal has it while a machine has the terminal, also after a suspension, and then its own", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { child, end } = run(root, terminal, ["--background=44"], probe("echo", "--", "cwd"));
    await poll("the colour", () => (terminal.output.includes(BLUE) ? true : undefined));
    child.kill("SIGTSTP");
    await poll("the end of the colour", () => (terminal.output === BLUE + NONE ? true : undefined));
    await untilStopped(child.pid ?? -1);
    child.kill("SIGCONT");
    await poll("the colour again", () => (terminal.output === BLUE + NONE + BLUE ? true : undefined));
    terminal.type(CONTROL_D);
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.output.startsWith(`${BLUE}${NONE}${BLUE}`)).toBe(true);
    expect(parseProbe(terminal.output.slice(`${BLUE}${NONE}${BLUE}`.length, -NONE.length), "cwd")).toMatchObject({});
    expect(terminal.output.endsWith(NONE)).toBe(true);
  });

  test("an exception in berth itself puts it back", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const env = { NODE_OPTIONS: `--import=${bug(root)}` };
    const { child, end } = run(root, terminal, ["--background=48;2;1;2;255"], INIT, env);
    await connected(root, terminal);
    child.kill("SIGUSR2");
    expect(await end).toEqual({ status: 125, signal: null });
    const shown = terminal.output.replace("\x1b]11;rgb:01/02/ff\x1b\\", "<blue>").replace(NONE, "<none>");
    expect(shown.replaceAll("up\r\n", "")).toBe("<blue><none>berth: internal error: boom\r\n");
    await root.run(tree, ["-M", "m"], probe("cwd"));
  });

  test.each([
    ["--background=", "--console=interactive"],
    ["--background=44", "--console=read-only"],
    ["--background=44", "--console=pipe"],
  ])("%s %s: the terminal stays as it is", async (...options) => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { end } = run(root, terminal, options, probe("cwd"));
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.output).not.toContain("\x1b");
  });
});

describe("the terminal of berth", () => {
  test("--console=read-only shows the output, takes no input, and leaves ^C to berth", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = run(root, terminal, ["--console=read-only", "--kill-signal=SIGTERM"], [...INIT, "echo"]);
    await terminal.until(/up/);
    await root.recordWhen("m");
    expect(terminal.modes()).toBe(before);
    terminal.type("typed\n");
    await terminal.until(/typed/);
    terminal.type(CONTROL_C);
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.output.match(/typed/g)).toHaveLength(1); // the terminal's own echo
  });

  test("--console=read-only: the machine's console has the terminal's size and follows it", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal({ rows: 33, columns: 99 });
    const command = probe("tty", "--", "init", "--term");
    const { child, end } = run(root, terminal, ["--console=read-only"], command);
    await terminal.until(/"rows":33.*"columns":99|"columns":99.*"rows":33/);
    await terminal.until(/up/);
    const { leader } = await root.recordWhen("m");
    terminal.resize({ rows: 50, columns: 132 });
    await untilSized(leader.pid, { rows: 50, columns: 132 });
    child.kill("SIGTERM");
    expect(await end).toMatchObject({ signal: null });
  });

  test("--console=passive shows nothing and takes nothing, and the machine has a console all the same", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { child, end } = run(
      root,
      terminal,
      ["--console=passive"],
      probe("tty", "--", "init", "--term", "sleep", "1"),
    );
    await root.recordWhen("m");
    await poll("the payload", () => (root.consoleLog("m").includes("up") ? true : undefined));
    child.kill("SIGTERM");
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.output).toBe("");
  });

  test("--console=autopipe is interactive on a terminal", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const { end } = run(root, terminal, ["--console=autopipe"], probe("tty"));
    expect(await end).toEqual({ status: 0, signal: null });
    expect(parseProbe(terminal.output, "tty")).toMatchObject({ isatty: [true, true, true], controlling: true });
  });

  test("--console=pipe gives the payload no terminal even where berth has one, so it can type nothing into it", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const before = terminal.modes();
    const { end } = run(root, terminal, ["--console=pipe"], probe("tty", "--", "tiocsti", "--", "echo"));
    await terminal.until(/"verb":"tiocsti"/);
    terminal.type(`typed\n${CONTROL_D}`);
    expect(await end).toEqual({ status: 1, signal: null });
    const [tty, tiocsti] = parseProbe(terminal.output);
    expect(tty).toMatchObject({ isatty: [false, false, false], controlling: false });
    expect(tiocsti?.error).toMatch(/ENOTTY|EPERM/);
    expect(terminal.output.match(/typed/g)).toHaveLength(2); // its echo, and the payload's
    expect(terminal.modes()).toBe(before);
  });

  test("in a pipeline the payload has no terminal either", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const pipeline = `"$@" | cat`;
    const argv = [
      "sh",
      "-c",
      pipeline,
      "sh",
      BERTH,
      "run",
      "-q",
      "-D",
      tree,
      "--console=autopipe",
      "--",
      ...probe("tty", "--", "tiocsti"),
    ];
    const { end } = terminal.spawn(argv, root.env);
    expect(await end).toEqual({ status: 0, signal: null });
    const [tty, tiocsti] = parseProbe(terminal.output);
    expect(tty).toMatchObject({ isatty: [false, false, false], controlling: false });
    expect(tiocsti?.error).toMatch(/ENOTTY|EPERM/);
  });
});
