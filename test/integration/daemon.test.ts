/** berthd itself: one a root, started and stopped, what it says to systemd and to the journal. */
import { closeSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/bus/connection.ts";
import { boundDatagramSocket, receive } from "../../src/sys/sockets.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { BERTHD, berthd, connect, daemonGone, killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { Machine1Client } from "../lib/machine1-client.ts";
import { machinectlOn } from "../lib/machinectl.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function makeMachine(root: BerthRoot, name = "m"): Promise<void> {
  await probeTree({ at: join(root.machines, name), init: true });
  root.settings(name, "[Exec]\nKillSignal=SIGRTMIN+3");
}

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly machine?: string;
  readonly operation?: string;
}

describe("one daemon a root", () => {
  test("is started, shown and stopped; each of that twice is no failure", async () => {
    await using root = berthRoot();
    const none = await root.berth("daemon", "status", "--json");
    expect([none.status, none.stdout]).toEqual([3, "null\n"]);
    expect(await root.spawn([join(BERTHD, "../berth"), "daemon", "start"]).end).toMatchObject({
      status: 0,
      stdout: "",
    });
    const pid = root.daemonPid();
    const { status, stdout } = await root.berth("daemon", "status", "--json");
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      pid,
      // Where the host has a dbus-daemon(1).
      bus: expect.toBeOneOf([null, `unix:path=${join(root.path, "run/bus")}`]),
      socket: join(root.path, "run/berthd.sock"),
      root: root.path,
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      machines: 0,
    });
    expect((await root.berth("daemon", "status")).stdout).toMatch(new RegExp(`^ {2}PID +${pid}$`, "m"));
    expect((await root.berth("daemon", "start")).stderr).toBe(`berth: berthd runs already, pid ${pid}\n`);
    expect(root.daemonPid()).toBe(pid);
    expect(await root.berth("daemon", "stop")).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(root.daemonPid()).toBeUndefined();
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    expect((await root.berth("daemon", "status")).status).toBe(3);
  });

  test("events goes on with the next one", async () => {
    await using root = berthRoot();
    for (const name of ["m", "other"]) await makeMachine(root, name);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    await using events = root.start("events");
    // What has happened before it listens it does not tell of.
    while (!events.stdout.includes(" removed other "))
      for (const verb of ["start", "terminate"]) expect((await root.berth(verb, "other")).status).toBe(0);
    expect((await root.berth("start", "m")).status).toBe(0);
    await events.until(/ m running ready/);
    await killDaemon(root);
    await events.until(/^berth: berthd has ended: waiting for the next one$/m);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    await events.until(/^berth: berthd runs again$/m);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    await events.until(/ removed m stopped$/m);
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    await events.until(/runs again\nberth: berthd has ended: waiting for the next one$/m);
    events.kill("SIGINT");
    expect((await events.end).status).toBe(130);
  });

  test("a second one ends at once and names the first, which does not notice", async () => {
    await using root = berthRoot();
    await using first = await berthd(root);
    const { status, stderr } = await root.spawn([BERTHD]).end;
    expect(status).toBe(75);
    expect(stderr).toBe(
      `berthd: berthd runs already for ${root.path}/run: pid ${root.daemonPid()}\n` +
        "hint: berth daemon status says more of it, berth daemon stop ends it\n",
    );
    await using wire = await connect(root);
    expect(await wire.call("ping")).toMatchObject({ result: null });
    first.kill();
    expect((await first.end).status).toBe(0);
  });

  test("several that are started at once: one runs, and all who wanted one are served", async () => {
    await using root = berthRoot();
    await Promise.all(["a", "b", "c"].map((name) => makeMachine(root, name)));
    const ends = await Promise.all(["a", "b", "c"].map((name) => root.berth("start", name)));
    for (const { status, stderr } of ends) expect([status, stderr]).toEqual([0, ""]);
    expect((await root.berth("terminate", "a", "b", "c")).status).toBe(0);
  });

  test("of another root is another one: same names of machines, nothing in common", async () => {
    await using one = berthRoot();
    await using two = berthRoot();
    await Promise.all([makeMachine(one), makeMachine(two)]);
    const ends = await Promise.all([one.berth("start", "m"), two.berth("start", "m")]);
    expect(ends.map(({ status, stderr }) => [status, stderr])).toEqual([
      [0, ""],
      [0, ""],
    ]);
    expect(one.daemonPid()).not.toBe(two.daemonPid());
    expect((await one.berth("terminate", "m")).status).toBe(0);
    expect(JSON.parse((await two.berth("list", "--json")).stdout)).toMatchObject([{ name: "m", state: "running" }]);
    expect((await two.berth("terminate", "m")).status).toBe(0);
  });

  test("does nothing for who has other machines or settings, and says so; a link to its own is its own", async () => {
    await using root = berthRoot();
    await makeMachine(root);
    expect((await root.berth("daemon", "start")).status).toBe(0);
    const others = root.directory("others");
    await probeTree({ at: join(others, "m"), init: true });
    const by = (env: NodeJS.ProcessEnv, ...words: string[]) => root.spawn([BERTH, ...words], { env }).end;
    for (const words of [
      ["start", "m"],
      ["start", "--timeout=60", "m"],
      ["pull-tar", "--verify=no", "http://127.0.0.1:9/x.tar"],
    ])
      expect(await by({ BERTH_MACHINES: others }, ...words)).toMatchObject({
        status: expect.toSatisfy((status) => status > 0),
        stderr: expect.stringMatching(
          new RegExp(
            `berthd of ${root.path}/run has its machines in ${root.machines}, not in ${others}\nhint: .*BERTH_MACHINES`,
          ),
        ),
      });
    expect((await by({ BERTH_ETC: others }, "start", "m")).stderr).toContain(`has its settings in ${root.etc}, not in`);
    expect((await by({ BERTH_MACHINES: others }, "daemon", "status")).status).toBe(0);
    symlinkSync(root.machines, join(root.path, "link"));
    const link = { BERTH_MACHINES: join(root.path, "link") };
    expect(await by(link, "start", "m")).toMatchObject({ status: 0 });
    expect(await by(link, "terminate", "m")).toMatchObject({ status: 0 });
  });

  test("takes a root, and nothing else", async () => {
    await using root = berthRoot();
    for (const words of [["--rot=/x"], ["--root"], ["--root", "a", "b"], ["start"]]) {
      const { status, stderr } = await root.spawn([BERTHD, ...words]).end;
      expect([status, stderr]).toEqual([
        2,
        expect.stringMatching(/^berthd: unknown argument .*\nhint: berthd \[--root/),
      ]);
    }
    const { status, stderr } = await root.spawn(["setpriv", "--reuid=65534", "--clear-groups", BERTHD]).end;
    expect([status, stderr]).toEqual([1, "berthd: berthd needs to be root\nhint: run this as root\n"]);
  });

  test("whose socket's place is taken says so and ends", async () => {
    await using root = berthRoot();
    mkdirSync(join(root.path, "run/berthd.sock"), { recursive: true });
    const { status, stderr } = await root.berth("daemon", "start");
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^berth: .*berthd\.sock is in the place of a socket\nhint: /),
    ]);
  });

  test("follows no link that lies in its way", async () => {
    await using root = berthRoot();
    const victim = join(root.path, "victim");
    writeFileSync(victim, "as it was");
    mkdirSync(join(root.path, "run"));
    symlinkSync(victim, join(root.path, "run/berthd.lock"));
    expect((await root.spawn([BERTHD]).end).status).not.toBe(0);
    expect(readFileSync(victim, "utf8")).toBe("as it was");
  });
});

describe("its end", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("by %s: its machines go on", async (signal) => {
    await using root = berthRoot();
    await makeMachine(root);
    await using daemon = await berthd(root);
    expect((await root.berth("start", "m")).status).toBe(0);
    daemon.kill(signal);
    expect((await daemon.end).status).toBe(0);
    expect(JSON.parse((await root.berth("list", "--json")).stdout)).toMatchObject([{ name: "m", state: "running" }]);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  test("with --machines powers them off first", async () => {
    await using root = berthRoot();
    await Promise.all(["a", "b"].map((name) => makeMachine(root, name)));
    expect((await root.berth("start", "a", "b")).status).toBe(0);
    expect(await root.berth("daemon", "stop", "--machines")).toMatchObject({ status: 0, stderr: "" });
    expect(root.daemonPid()).toBeUndefined();
    expect(root.leftovers()).toEqual([]);
  });

  test("while machines are started: each start says how it went, and nothing is left half-done", async () => {
    await using root = berthRoot();
    const names = Array.from({ length: 6 }, (_, index) => `m${index}`);
    await Promise.all(names.map((name) => makeMachine(root, name)));
    for (const delay of [0, 30, 60, 120]) {
      await using daemon = await berthd(root);
      const starts = names.map((name) => root.berth("start", name));
      await new Promise((resolve) => setTimeout(resolve, delay));
      daemon.kill();
      expect((await daemon.end).status).toBe(0);
      const ends = await Promise.all(starts);
      for (const { status, stderr } of ends)
        if (status !== 0)
          expect(stderr).toMatch(/^berth: (.*the daemon ends|berthd has gone|berthd runs already.*)\nhint: .*\n$/);
      // By then there may be another daemon, for a start that came late.
      const listed = JSON.parse((await root.berth("list", "--json")).stdout) as { name: string; state: string }[];
      const alive = listed.filter(({ state }) => state !== "failed");
      for (const { name, state } of alive) expect([name, state]).toEqual([name, "running"]);
      const started = names.filter((_, index) => ends[index]?.status === 0);
      expect(alive.map(({ name }) => name)).toEqual(expect.arrayContaining(started));
      if (alive.length > 0) expect((await root.berth("terminate", ...alive.map(({ name }) => name))).status).toBe(0);
      expect((await root.berth("daemon", "stop")).status).toBe(0);
      expect(root.leftovers()).toEqual([]);
    }
  });

  test("while a machine takes its time to power off: whoever waits for that hears so, and the next one sees it end", async () => {
    await using root = berthRoot();
    await makeMachine(root);
    await using daemon = await berthd(root);
    expect((await root.berth("start", "m")).status).toBe(0);
    const { leader } = await root.recordWhen("m");
    // It hears of nothing until it is continued.
    process.kill(leader.pid, "SIGSTOP");
    const poweroff = root.berth("poweroff", "--timeout=300", "m");
    await root.recordWhen("m", ({ state }) => state === "stopping");
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    expect(await poweroff).toMatchObject({ status: 1, stderr: expect.stringMatching(/^berth: .*the daemon ends/) });
    expect((await root.berth("daemon", "start")).status).toBe(0);
    expect(JSON.parse((await root.berth("list", "--json")).stdout)).toMatchObject([{ name: "m", leader: leader.pid }]);
    process.kill(leader.pid, "SIGCONT");
    expect((await root.berth("wait", "m", "stopped")).status).toBe(0);
    expect(root.leftovers()).toEqual([]);
  });

  test("does not wait for a client that reads nothing", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    await using wire = await connect(root);
    wire.socket.pause();
    for (let round = 0; round < 200; round++)
      wire.send(`${JSON.stringify({ id: round, method: "x".repeat(20_000) })}\n`);
    await using other = await connect(root);
    expect(await other.call("ping")).toMatchObject({ result: null });
    const began = performance.now();
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    expect(performance.now() - began).toBeLessThan(5000);
  });
});

describe("what it says", () => {
  test("to systemd: READY=1 when clients are served, WATCHDOG=1 again and again, STOPPING=1", async () => {
    await using root = berthRoot();
    const path = join(root.path, "notify");
    using socket = notifySocket(path);
    await using daemon = await berthd(root, { env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "200000" } });
    await poll("the watchdog", () =>
      socket.heard().filter((text) => text === "WATCHDOG=1").length > 2 ? true : undefined,
    );
    expect(socket.heard()[0]).toBe("READY=1\nSTATUS=0 machines");
    daemon.kill();
    await daemon.end;
    expect(socket.heard().filter((text) => text === "STOPPING=1")).toHaveLength(1);
    expect(socket.heard().at(-1)).toBe("STOPPING=1");
  });

  test("to systemd: READY=1 not before the bus can be called", async () => {
    await using root = berthRoot();
    const path = join(root.path, "notify");
    using socket = notifySocket(path);
    await using _daemon = await berthd(root, { env: { NOTIFY_SOCKET: path } });
    await poll("that it is ready", () => socket.heard()[0]);
    const connection = await Connection.open(`unix:path=${root.bus}`);
    connection.close();
  });

  test("to a watchdog that is another's, or to nobody: nothing", async () => {
    await using root = berthRoot();
    const path = join(root.path, "notify");
    using socket = notifySocket(path);
    const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "20000", WATCHDOG_PID: "1" };
    await using daemon = await berthd(root, { env });
    await poll("that it is ready", () => socket.heard()[0]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(socket.heard()).toEqual(["READY=1\nSTATUS=0 machines"]);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    await using deaf = await berthd(root, {
      env: { NOTIFY_SOCKET: join(root.path, "nobody"), WATCHDOG_USEC: "20000" },
    });
    deaf.kill();
    expect((await deaf.end).status).toBe(0);
  });

  test("a daemon that a command starts has nothing of the service that the command is run in", async () => {
    await using root = berthRoot();
    const path = join(root.path, "notify");
    using socket = notifySocket(path);
    const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "20000", JOURNAL_STREAM: "1:2" };
    const start = root.spawn([join(BERTHD, "../berth"), "daemon", "start"], { env });
    expect((await start.end).status).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    expect(socket.heard()).toEqual([]);
    expect(readFileSync(join(root.path, "run/berthd.log"), "utf8")).toMatch(/^(\{.*\}\n)+$/);
  });

  test("to the journal: priorities, and no control characters; else JSON with machine and operation", async () => {
    await using root = berthRoot();
    await makeMachine(root);
    await using daemon = await berthd(root, { env: { JOURNAL_STREAM: "8:1234", BERTH_LOG_LEVEL: "debug" } });
    await using wire = await connect(root);
    wire.send(`${JSON.stringify({ id: 1, method: "view", params: { name: "\u001b[31m\nred" } })}\n`);
    await wire.answer(1);
    expect((await root.berth("start", "m")).status).toBe(0);
    await killDaemon(root);
    await daemon.end;
    expect(daemon.stderr).toMatch(/^(<[2-7]>[^\n]+\n)+$/);
    expect(daemon.stderr).not.toContain("\u001b");
    expect(daemon.stderr).toMatch(/^<6>berthd \S+ serves /m);
    expect(daemon.stderr).toMatch(/^<7>m: asked by pid \d+ \[start#\d+\]$/m);

    await using next = await berthd(root, { env: { BERTH_LOG_LEVEL: "nonsense" } });
    expect((await root.berth("reboot", "x")).status).toBe(1);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    next.kill();
    await next.end;
    const lines = next.stderr
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as LogLine);
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 30, machine: "m", msg: expect.stringMatching(/taken over/) }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 30, machine: "x", operation: expect.stringMatching(/^reboot#\d+$/) }),
    );
    await daemonGone(root);
  });

  test("of what was asked for on the bus too: its operation, and of whom it does not know at debug only", async (ctx) => {
    needsHere(ctx, "tool:machinectl", "no-systemd");
    await using root = berthRoot();
    await makeMachine(root);
    root.settings("m", "[Exec]\nBoot=no\nParameters=/nothing");
    await using daemon = await berthd(root, { env: { BERTH_LOG_LEVEL: "debug" } });
    await using client = await Machine1Client.of(root);
    await expect(client.call("RenameImage", "ss", ["m", "m"], "")).rejects.toThrow();
    await expect(client.call("GetMachine", "s", ["x"], "o")).rejects.toThrow("No machine 'x' known");
    expect((await machinectlOn(root)("start", "m")).status).toBe(1);
    const lines = await poll("the failed start", () => {
      const said = daemon.stderr.split("\n").slice(0, -1);
      const read = said.map((line) => JSON.parse(line) as LogLine);
      return read.some(({ msg }) => msg.includes("has failed")) ? read : undefined;
    });
    const heard = (level: number, member: string, msg: string, more = {}): void =>
      expect(lines).toContainEqual({
        ...{ time: expect.any(Number), level, msg: expect.stringContaining(msg), ...more },
        operation: expect.stringMatching(new RegExp(`^${member}#\\d+$`)),
      });
    heard(30, "RenameImage", "exists already");
    heard(20, "GetMachine", "No machine 'x' known");
    heard(50, "StartUnit", "has failed: starting m failed at step", { machine: "m" });
    expect(lines[0]).not.toHaveProperty("operation");
  });

  test("to a terminal: times and words", async () => {
    await using root = berthRoot();
    // script(1) gives it a terminal as stderr.
    await using daemon = await berthd(root, { program: ["script", "-qec", BERTHD, "/dev/null"] });
    expect(daemon.stdout).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {4}berthd \S+ serves /m);
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    await daemon.end;
  });
});

interface NotifySocket extends Disposable {
  heard(): readonly string[];
}

/** As a service manager has it. */
function notifySocket(path: string): NotifySocket {
  const fd = boundDatagramSocket(path);
  const texts: string[] = [];
  return {
    heard() {
      for (let message = receive(fd); message !== null; message = receive(fd)) {
        if (message.data.length === 0) break;
        texts.push(message.data.toString("utf8"));
      }
      return texts;
    },
    [Symbol.dispose]() {
      closeSync(fd);
    },
  };
}
