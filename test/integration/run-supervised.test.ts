/** `berth run` as its machine's supervisor: signals at any time, reboots without end, failures of its own, closed stdio. */
import { readdirSync, readlinkSync } from "node:fs";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import { runForeground } from "../../src/machine/run-foreground.ts";
import { BERTH, type BerthRoot, berthRoot, poll } from "../lib/berth.ts";
import { openFds } from "../lib/leaks.ts";
import { probe } from "../lib/probe.ts";
import { openTerminal } from "../lib/pty.ts";
import { setUpProbe } from "../lib/set-up.ts";
import { TEST_CACHE } from "../lib/trees.ts";

const { tree } = setUpProbe({}, "tool:setsid");

describe("a stop signal", () => {
  test("at any moment of a machine that reboots without end stops it for good and leaves nothing", async () => {
    await using root = berthRoot();
    for (let delay = 0; delay < 60; delay += 7) {
      const words = ["run", "-D", tree, "-M", "m", "--console=read-only", "--", ...probe("reboot", "restart")];
      await using child = root.start(...words);
      await child.until(/reboots\n.*reboots\n/);
      await sleep(delay);
      child.kill("SIGTERM");
      const { status, signal, stderr } = await child.end;
      expect(signal, stderr).toBe(null);
      // As it ran, or as it was launched again.
      expect([0, 137, 143], stderr).toContain(status);
      expect(stderr).not.toMatch(/Warning|rror/);
      expect(root.leftovers()).toEqual([]);
    }
  });
});

describe("twelve reboots", () => {
  const threads = (pid: number): number => readdirSync(`/proc/${pid}/task`).length;

  /** Reboots machine m twelve times. What its supervisor holds after the first reboot, and after the last. */
  async function reboot(root: BerthRoot): Promise<readonly [object, object]> {
    const held: object[] = [];
    let last = 0;
    for (let boot = 0; boot <= 12; boot++) {
      const { leader, supervisor } = await root.recordWhen("m", (record) => record.leader.pid !== last);
      last = leader.pid;
      // A command runs inside only when the machine's supervisor has done with its launch, too.
      await poll("its init", () => (/up/.test(root.consoleLog("m")) ? true : undefined));
      await root.berth("exec", "m", "--", ...probe("cwd"));
      held.push({ fds: openFds(supervisor.pid).length, threads: threads(supervisor.pid) });
      if (boot < 12) await root.berth("exec", "m", "--", ...probe("reboot", "restart"));
    }
    return [held[1] ?? {}, held.at(-1) ?? {}];
  }

  test("on a terminal leave nothing behind, and the keyboard is still the machine's", async () => {
    await using root = berthRoot();
    await using terminal = openTerminal();
    const before = terminal.modes();
    const words = ["run", "-D", tree, "-M", "m", "--", ...probe("init", "--term", "echo")];
    const { child, end } = terminal.spawn([BERTH, ...words], root.env);
    const [first, last] = await reboot(root);
    expect(last).toEqual(first);
    await poll("a raw terminal", () => (terminal.flags().canonical ? undefined : true));
    terminal.type("typed\r");
    await terminal.until(/typed\r\ntyped/); // the console's echo, and the payload's
    child.kill("SIGTERM");
    expect(await end).toEqual({ status: 0, signal: null });
    expect(terminal.output).not.toMatch(/Warning/);
    expect(terminal.output.match(/machine m reboots/g)).toHaveLength(12);
    expect(terminal.modes()).toBe(before);
  });

  test.each(["read-only", "passive"])("with --console=%s leave nothing behind", async (mode) => {
    await using root = berthRoot();
    const words = ["run", "-D", tree, "-M", "m", `--console=${mode}`, "--kill-signal=SIGTERM"];
    await using child = root.start(...words, "--", ...probe("init", "--term"));
    const [first, last] = await reboot(root);
    expect(last).toEqual(first);
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
    expect(child.stderr.replace(/^berth: (machine m reboots|stopping .*)\n/gm, "")).toBe("");
  });
});

describe("a failure after the machine was launched", () => {
  /** `runForeground` in this process, for a caller whose streams or terminal fail. */
  function runHere(root: BerthRoot, caller: object): Promise<number> {
    const paths = findPaths({ BERTH_CACHE: TEST_CACHE }, INSTALLATION, root.path);
    const request = { name: "m", directory: tree, options: [], command: probe("init"), boot: false };
    const prepared = prepare({ ...request, console: undefined }, paths, INSTALLATION);
    const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
    const nothing = { hurry: () => undefined, giveUp: () => undefined, close: () => undefined };
    const all = { ...streams, ...nothing, flushed: () => Promise.resolve(), ...caller };
    return runForeground(prepared, {
      paths,
      caller: all as unknown as Parameters<typeof runForeground>[1]["caller"],
      credentials: new Map(),
      console: "interactive",
      env: {},
      say: () => undefined,
    });
  }

  test("ends the machine and leaves nothing of it: no process, cgroup, record, lock or fd", async () => {
    await using root = berthRoot();
    const before = openFds("self").length;
    const listeners = process.listenerCount("SIGTERM");
    const lend = (): void => {
      throw new Error("the terminal is gone");
    };
    const terminal = { size: undefined, lend, takeBack: () => undefined };
    await expect(runHere(root, { terminal })).rejects.toThrow("the terminal is gone");
    expect(root.leftovers()).toEqual([]);
    expect(openFds("self").length).toBe(before);
    expect(process.listenerCount("SIGTERM")).toBe(listeners);
  });
});

describe("stdio that was closed by the caller", () => {
  const CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"];
  const fdsOf = (pid: number) =>
    Object.fromEntries(readdirSync(`/proc/${pid}/fd`).map((fd) => [fd, readlinkSync(`/proc/${pid}/fd/${fd}`)]));

  test.each(["pipe", "read-only", "passive", "interactive"])(
    "--console=%s: gets /dev/null, and no fd of ours",
    async (mode) => {
      await using root = berthRoot();
      for (const closed of CLOSED) {
        const words = ["run", "-q", "-D", tree, "-M", "m", `--console=${mode}`, "--", ...probe("sleep", "100000")];
        await using child = root.spawn(["sh", "-c", `exec "$@" ${closed}`, "sh", BERTH, ...words]);
        const { leader } = await root.recordWhen("m");
        const fds = fdsOf(leader.pid);
        expect(Object.keys(fds), closed).toEqual(["0", "1", "2"]);
        if (mode === "pipe") {
          if (closed.includes("<&-")) expect(fds["0"], closed).toBe("/dev/null");
          if (closed.includes("2>&-")) expect(fds["2"], closed).toBe("/dev/null");
          else expect(fds["2"], closed).toMatch(/^(socket|pipe):/);
          const stdout = /(^| )>&-/.test(closed);
          expect(fds["1"], closed).toMatch(stdout ? /^\/dev\/null$/ : /^(socket|pipe):/);
        } else expect(fds["1"], closed).toMatch(/console|pts/);
        child.kill("SIGTERM");
        expect(await child.end, closed).toMatchObject({ status: 137, signal: null });
      }
    },
  );

  test("exec: the command gets /dev/null, and its status is berth's", async () => {
    await using root = berthRoot();
    await using machine = root.start(
      "run",
      "-q",
      "-D",
      tree,
      "-M",
      "m",
      "--console=passive",
      "--",
      ...probe("init", "--term"),
    );
    await root.recordWhen("m");
    for (const closed of CLOSED) {
      for (const tty of [[], ["--tty"]]) {
        const words = ["exec", ...tty, "m", "--", ...probe("fds", "--", "exit", "3")];
        const end = await root.spawn(["sh", "-c", `exec "$@" ${closed}`, "sh", BERTH, ...words]).end;
        expect(end, `${tty} ${closed}`).toMatchObject({ status: 3, signal: null, stderr: "" });
        if (/(^| )>&-/.test(closed)) continue;
        const fds = JSON.parse(end.stdout.split("\n")[0] ?? "")["fds"];
        expect(Object.keys(fds), closed).toEqual(["0", "1", "2"]);
        if (tty.length === 0 && closed.includes("<&-")) expect(fds["0"]).toBe("/dev/null");
      }
    }
    machine.kill();
    expect((await machine.end).status).toBe(0);
  });
});
