/** berthd's socket: clients that say rubbish, that are killed, that are too many, that are nobody; and what they leave in it. */
import { mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { connectStream, FdStream } from "../../src/sys/unix-stream.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End, isRunning, poll, type Running } from "../lib/berth.ts";
import { BERTHD, berthd, connect, socketOf, type Wire } from "../lib/daemon.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { generator } from "../lib/random.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** It serves others as if nothing had happened. */
async function expectAlive(root: BerthRoot, pid: number | undefined): Promise<void> {
  expect(root.daemonPid()).toBe(pid);
  await using wire = await connect(root);
  // Is answered when it is on the bus, or has found none: from then on it opens nothing by itself.
  expect(await wire.call("status")).toMatchObject({ result: { pid: root.daemonPid() } });
}

async function dropped(root: BerthRoot, say: (wire: Wire) => void): Promise<void> {
  await using wire = await connect(root);
  say(wire);
  await Promise.race([
    wire.closed,
    sleep(10_000).then(() => {
      throw new Error("the client was not dropped");
    }),
  ]);
}

/** What there may be in a line. */
const PIECES = [
  ...['{"id":1,"method":"list","params":{"all":true}}', '{"id":2,"method":"start","params":{"name":"m","timeout":1}}'],
  ...['{"id":3,"signal":9}', '{"id":1,"cancel":true}', "null", "[]", '{"id":', '"\\u0000"', "\0", "\r", "\n", "\n\n"],
  ...['{"__proto__":{"id":1,"method":"quit"}}', '{"id":1e99,"method":"list"}', "\xff\xfe", "{}".repeat(50)],
];

describe("rubbish", () => {
  test("of any kind: its sender is dropped or answered, nobody else notices", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    const pid = root.daemonPid();
    const below = generator(7);
    for (let round = 0; round < 150; round++) {
      await using wire = await connect(root);
      for (let pieces = below(12); pieces >= 0; pieces--) {
        const random = Buffer.from(Array.from({ length: below(300) }, () => below(256)));
        wire.send(
          below(3) === 0
            ? random
            : Buffer.from(`${PIECES[below(PIECES.length)]}${below(2) === 0 ? "\n" : ""}`, "latin1"),
        );
      }
      wire.send("\n");
      if (below(2) === 0) wire.socket.end();
    }
    await expectAlive(root, pid);
    expect(daemon.stderr).not.toContain("internal error");
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test("wrong parameters are answered, each by its name, and never with a stack", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    await using wire = await connect(root);
    const odd = [undefined, null, 7, -1, 1.5, "", "a/b", "a\0b", "__proto__", "x".repeat(100_000), [], [1], {}, true];
    const keys = ["name", "timeout", "all", "wait", "whom", "signal", "state", "argv", "user", "directory", "stdio"];
    const methods = ["view", "start", "powerOff", "reboot", "terminate", "kill", "pause", "resume", "wait", "exec"];
    for (const method of [...methods, "setProperty", "list"])
      for (const value of odd) {
        const answer = await wire.call(method, Object.fromEntries(keys.map((key) => [key, value])));
        if (method === "list" && value === true) expect(answer).toMatchObject({ result: [] });
        else if (answer !== undefined && "error" in answer) {
          expect(answer.error.message).toMatch(/^[^\n]+$/);
          expect(answer.error.message).not.toMatch(/internal error| {4}at /);
        } else expect([method, value, answer]).toEqual(["an error", expect.anything(), expect.anything()]);
      }
    for (const method of ["toString", "__proto__", "constructor", "", "quit\0", "Start"])
      expect(await wire.call(method)).toMatchObject({
        error: { kind: "NotSupported", message: expect.stringContaining("has no method") },
      });
    await expectAlive(root, root.daemonPid());
    daemon.kill();
    await daemon.end;
  });

  test.each<[string, (wire: Wire) => void]>([
    ["no JSON", (wire) => wire.send("hello\n")],
    ["no id", (wire) => wire.send('{"method":"list"}\n')],
    ["a huge line", (wire) => wire.send(Buffer.alloc(5 << 20, 97))],
    [
      "a huge line in many pieces",
      (wire) => {
        for (let piece = 0; piece < 100; piece++) wire.send(Buffer.alloc(64 << 10, 97));
      },
    ],
    ["the same id twice", (wire) => wire.send('{"id":1,"method":"events","params":{}}\n'.repeat(2))],
    [
      "too many requests",
      (wire) => {
        for (let id = 1; id < 1000; id++) wire.send(`${JSON.stringify({ id, method: "events", params: {} })}\n`);
      },
    ],
    ["a signal that is none", (wire) => wire.send('{"id":1,"signal":65}\n')],
  ])("%s: the client is dropped, which the log says", async (_, say) => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    await dropped(root, say);
    await poll("the log", () => (/a client, pid \d+ of user 0, was dropped: /.test(daemon.stderr) ? true : undefined));
    await expectAlive(root, root.daemonPid());
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test("a line as long as a command line can be is a request", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    await using wire = await connect(root);
    const argv = Array.from({ length: 32 }, () => "x".repeat(100_000));
    expect(
      await wire.call("exec", { name: "m", argv, environment: [], user: null, directory: null, stdio: "own" }),
    ).toMatchObject({
      error: { message: expect.stringMatching(/^no machine "m" is running$/) },
    });
    daemon.kill();
    await daemon.end;
  });

  test("fds that nobody asked for are closed; more than a request can have drop the client", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    const pid = root.daemonPid() ?? 0;
    await expectAlive(root, pid);
    const before = openFds(pid).length;
    for (let round = 0; round < 20; round++) {
      const stream = await sender(root);
      stream.write(Buffer.from('{"id":1,"method":"ping","params":{}}\n'), nulls(3));
      stream.write(Buffer.from('{"id":2,"method":"exec","params":{}}\n'), nulls(3));
      stream.write(Buffer.from('{"id":3,"meth'), nulls(round % 2 === 0 ? 3 : 10));
      await stream.flush().catch(() => undefined);
      await sleep(5);
      stream.close();
    }
    await poll("the fds", () => (openFds(pid).length <= before ? true : undefined));
    await expectAlive(root, pid);
    daemon.kill();
    await daemon.end;
  });
});

async function sender(root: BerthRoot): Promise<FdStream> {
  return new FdStream(await connectStream(socketOf(root)), { onData: () => undefined, onEnd: () => undefined });
}

function nulls(count: number): number[] {
  return Array.from({ length: count }, () => openSync("/dev/null", "r"));
}

describe("berth list", () => {
  test("loads next to nothing that Node has not loaded for itself: that is what it takes its time for", async () => {
    await using root = berthRoot();
    await using _ = await berthd(root);
    const tell = join(root.path, "tell.cjs");
    writeFileSync(tell, 'process.on("exit", () => process._rawDebug(process.moduleLoadList.join("\\n")));');
    const modules = async (...argv: readonly string[]): Promise<readonly string[]> => {
      const { status, stderr } = await root.spawn(argv, { env: { NODE_OPTIONS: `--require=${tell}` } }).end;
      expect(status).toBe(0);
      return stderr.match(/^NativeModule .*/gm) ?? [];
    };
    const own = await modules(process.execPath, "-e", "0");
    expect(own).toContain("NativeModule fs");
    // By the one that it is with its compiled code is loaded, which takes less than to compile it (.scripts/bundle/loader.cjs).
    const more = (await modules(BERTH, "list")).filter((module) => !own.includes(module));
    expect(more).toEqual(["NativeModule vm"]);
  });
});

test("berth exec says what berthd answers, in words and by its status", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using daemon = await berthd(root);
  expect((await root.berth("start", "m")).status).toBe(0);
  expect(await root.berth("exec", "n", "--", "true")).toMatchObject({
    status: 125,
    stdout: "",
    stderr: 'berth: no machine "n" is running\nhint: did you mean m?\n',
  });
  expect(await root.berth("exec", "m", "/no/such")).toMatchObject({
    status: 127,
    stderr: expect.stringMatching(/^berth: entering m failed at .*ENOENT.*\nhint: .*\n$/),
  });
  await using child = root.start("exec", "m", "--", "sh", "-c", "echo on; exec sleep 1000");
  await child.until(/^on$/m);
  daemon.kill("SIGKILL");
  expect(await child.end).toMatchObject({ status: 125, stderr: expect.stringMatching(/^berth: berthd has gone\n/) });
  await daemon.end;
  await using next = await berthd(root);
  expect((await root.berth("terminate", "m")).status).toBe(0);
  next.kill();
  expect((await next.end).status).toBe(0);
});

describe("a user who is not root", () => {
  test("may look, and do nothing", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    expect((await root.berth("start", "m")).status).toBe(0);
    // The directories above the socket are for root only: from its own it is in reach of everybody.
    const script = `
      process.chdir(process.argv[1]);
      process.setgroups([]);
      process.setgid(65534);
      process.setuid(65534);
      const socket = require("node:net").connect("berthd.sock");
      socket.write(JSON.stringify({ id: 1, method: process.argv[2], params: JSON.parse(process.argv[3]) }) + "\\n");
      socket.once("data", (data) => { process.stdout.write(data); socket.destroy(); });`;
    const ask = async (method: string, params: object): Promise<unknown> => {
      const words = ["-e", script, join(root.path, "run"), method, JSON.stringify(params)];
      const { stdout, stderr } = await root.spawn([process.execPath, ...words]).end;
      expect(stderr).toBe("");
      return JSON.parse(stdout.split("\n")[0] ?? "");
    };
    const name = "m";
    // Which there are and in which state; not what they say, or where they are.
    const hidden = { image: null, status: null, reason: null, weaknesses: [] };
    expect(await ask("list", { all: true })).toMatchObject({ result: [{ name, state: "running", ...hidden }] });
    expect(await ask("view", { name })).toMatchObject({ result: { name, ...hidden } });
    expect(await ask("show", { name })).toMatchObject({ result: { name, rootDirectory: null, ...hidden } });
    expect(statSync(join(root.path, "run/machines.json")).mode & 0o777).toBe(0o600);
    expect(await ask("wait", { name, state: "running" })).toMatchObject({ result: null });
    expect(await ask("status", {})).toMatchObject({ result: { machines: 1 } });
    const denied = { error: { kind: "AccessDenied", message: expect.stringMatching(/ is for root only$/) } };
    const acts: [string, object][] = [
      ["start", { name, timeout: 1000 }],
      ["powerOff", { name, wait: true, timeout: 1000 }],
      ["reboot", { name }],
      ["terminate", { name }],
      ["kill", { name, whom: "all", signal: 9 }],
      ["pause", { name }],
      ["resume", { name }],
      ["setProperty", { name, properties: ["MemoryMax=1G"] }],
      ["exec", { name, argv: ["true"], environment: [], user: null, directory: null, stdio: "own" }],
      ["quit", { machines: true, timeout: 1000 }],
    ];
    for (const [method, params] of acts) expect([method, await ask(method, params)]).toMatchObject([method, denied]);
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });

  /** As user nobody; in the socket's directory, as those above are for root only. */
  function nobody(root: BerthRoot, script: string): Running {
    const rights =
      "process.chdir(process.argv[1]); process.setgroups([]); process.setgid(65534); process.setuid(65534);";
    return root.spawn([process.execPath, "-e", `${rights}\n${script}`, join(root.path, "run")]);
  }

  async function listed(root: BerthRoot): Promise<unknown> {
    await using wire = await connect(root);
    return await wire.call("list", { all: true });
  }

  function listedWithin(ms: number, root: BerthRoot): Promise<unknown> {
    return Promise.race([listed(root), sleep(ms, "no answer in time")]);
  }

  test("keeps root from nothing by opening connections, and has few", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    const pid = root.daemonPid() ?? 0;
    const before = openFds(pid).length;
    const script = `
      let open = 0;
      for (let count = 0; count < 1200; count++) {
        const socket = require("node:net").connect("berthd.sock");
        socket.on("connect", () => { if (++open === 1200) console.log("open"); }).on("error", () => {});
      }
      setInterval(() => {}, 1000);`;
    await using flood = nobody(root, script);
    await flood.until(/^open$/m);
    expect(await listedWithin(10_000, root)).toMatchObject({ result: [] });
    expect(openFds(pid).length).toBeLessThan(before + 100);
    flood.kill("SIGKILL");
    await flood.end;
    // The bus has its own by now.
    await poll("the fds", () => (openFds(pid).length < before + 40 ? true : undefined));
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test("delays root by a moment only, however much it asks for, and does not fill the log", async () => {
    await using root = berthRoot();
    for (let count = 0; count < 300; count++) mkdirSync(join(root.machines, `m${count}`), { recursive: true });
    await using daemon = await berthd(root);
    const pid = root.daemonPid();
    const script = `
      const ask = () => {
        const socket = require("node:net").connect("berthd.sock");
        const more = () => {
          for (let id = 1; id <= 7; id++)
            socket.write(JSON.stringify({ id, method: id === 7 ? "nothing" : "list", params: { all: true } }) + "\\n");
        };
        let answers = 0;
        socket.on("connect", more).on("error", () => {}).on("close", () => setTimeout(ask, 50));
        socket.on("data", (data) => {
          answers += data.toString("latin1").split("\\n").length - 1;
          if (answers % 7 === 0) more();
        });
      };
      for (let count = 0; count < 32; count++) ask();
      setTimeout(() => console.log("asking"), 500);`;
    await using flood = nobody(root, script);
    await flood.until(/^asking$/m);
    const took: number[] = [];
    for (let round = 0; round < 10; round++) {
      const since = performance.now();
      expect(await listedWithin(20_000, root)).toMatchObject({ result: expect.anything() });
      took.push(performance.now() - since);
    }
    // A busy host now and then takes longer.
    expect(took.filter((ms) => ms < 2000).length, `${took}`).toBeGreaterThanOrEqual(7);
    expect(root.daemonPid()).toBe(pid);
    flood.kill("SIGKILL");
    await flood.end;
    expect(daemon.stderr.split("\n").length).toBeLessThan(10);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test("is dropped for a line longer than a request can be", async () => {
    await using root = berthRoot();
    await using daemon = await berthd(root);
    const script = `
      const socket = require("node:net").connect("berthd.sock");
      socket.on("error", () => {}).on("close", () => console.log("dropped"));
      socket.write("x".repeat(100_000));`;
    await using client = nobody(root, script);
    await client.until(/^dropped$/m);
    await expectAlive(root, root.daemonPid());
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
  });

  test("may look on the bus as well, and do nothing", async (ctx) => {
    needsHere(ctx, "tool:busctl", "tool:dbus-daemon", "tool:setpriv");
    await using root = berthRoot();
    await shellMachine(root, "m");
    await using daemon = await berthd(root);
    expect((await root.berth("start", "m")).status).toBe(0);
    await poll("the bus", () => (/ is on the bus at /.test(daemon.stderr) ? true : undefined));
    const call = async (member: string, ...args: string[]): Promise<End> => {
      const words = [
        "org.freedesktop.machine1",
        "/org/freedesktop/machine1",
        "org.freedesktop.machine1.Manager",
        member,
      ];
      const busctl = ["busctl", "--address=unix:path=/proc/self/cwd/bus", "call", ...words, ...args];
      const script = 'cd "$1" && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"';
      return root.spawn(["sh", "-c", script, "sh", join(root.path, "run"), ...busctl]).end;
    };
    expect(await call("ListMachines")).toMatchObject({ status: 0, stdout: expect.stringContaining('"m" "container"') });
    expect(await call("ListImages")).toMatchObject({ status: 0, stdout: expect.stringContaining('"m" "directory"') });
    expect(await call("GetMachineOSRelease", "s", "m")).toMatchObject({ status: 0 });
    for (const [member, ...args] of [
      ["TerminateMachine", "s", "m"],
      ["KillMachine", "ssi", "m", "leader", "9"],
      ["OpenMachinePTY", "s", "m"],
      ["OpenMachineShell", "sssasas", "m", "root", "", "0", "0"],
      ["RemoveImage", "s", "m"],
      ["SetPoolLimit", "t", "1"],
      ["CopyFromMachine", "sss", "m", "/etc/os-release", "/tmp/berth-test-copied"],
    ] as const) {
      const { status, stderr } = await call(member, ...args);
      expect([member, status, stderr]).toEqual([member, 1, expect.stringMatching(/denied|not permitted|rejected/i)]);
    }
    expect((await root.berth("terminate", "m")).status).toBe(0);
    daemon.kill();
    await daemon.end;
  });
});

/** How many processes there are in a cgroup and those below. */
function processesIn(cgroup: string): number {
  const own = readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean).length;
  const below = readdirSync(cgroup, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return below.reduce((sum, { name }) => sum + processesIn(join(cgroup, name)), own);
}

describe("clients that are killed", () => {
  /** In a loop, with fds counted before and after: what each leaves would add up. */
  test("while they start, exec, wait and listen leave nothing in the daemon", { timeout: 300_000 }, async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await shellMachine(root, "n");
    expect((await root.berth("start", "m")).status).toBe(0);
    const pid = root.daemonPid() ?? 0;
    const below = generator(11);
    const exec = { name: "m", environment: [], user: null, directory: null, stdio: "own" };
    const rounds: ((wire: Wire) => void)[] = [
      (wire) => wire.ask("exec", { ...exec, argv: ["sleep", "1000"] }),
      (wire) => wire.ask("exec", { ...exec, argv: ["sh", "-c", "trap '' HUP; exec sleep 1000"] }),
      (wire) => wire.ask("exec", { ...exec, argv: ["/no/such/program"] }),
      (wire) => wire.ask("wait", { name: "m", state: "stopped" }),
      (wire) => wire.ask("events"),
      (wire) => wire.ask("start", { name: "n", timeout: 60_000 }),
      (wire) => wire.ask("powerOff", { name: "n", wait: true, timeout: 60_000 }),
      (wire) => wire.ask("terminate", { name: "n" }),
    ];
    const cycle = async (count: number): Promise<void> => {
      for (let round = 0; round < count; round++) {
        await using wire = await connect(root);
        rounds[round % rounds.length]?.(wire);
        await sleep(below(25));
      }
      await using wire = await connect(root);
      await wire.call("terminate", { name: "n" });
      // A command that does not mind SIGHUP has two seconds.
      await poll("the ends of commands", () => (childCount(root) <= 2 ? true : undefined));
    };
    await cycle(rounds.length * 2);
    await sleep(200);
    const before = openFds(pid);
    await cycle(1000);
    // Stages that are spawned ahead come and go.
    await poll("the fds", () => (openFds(pid).length <= before.length + 8 ? true : undefined));
    await expectAlive(root, pid);
    expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
    expect((await root.berth("poweroff", "m")).status).toBe(0);
    expect(root.leftovers()).toEqual([]);
  });

  /** How many processes there are in machine m: its init and what that has begun are two. */
  function childCount(root: BerthRoot): number {
    const { cgroup } = root.record("m") ?? { cgroup: "" };
    return processesIn(join(cgroup, "payload"));
  }

  test("berth start that is killed leaves the machine; berth exec takes its command along", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m", ENDLESS);
    expect((await root.berth("start", "m")).status).toBe(0);
    await using child = root.start("exec", "m", "--", "sh", "-c", "echo on; exec sleep 1000");
    await child.until(/^on$/m);
    expect(basename(readlinkSync(`/proc/${child.pid}/exe`)), "it waits without Node").toMatch(/^exec-client-/);
    child.kill("SIGKILL");
    await child.end;
    await poll("the end of the command", () => (childCount(root) <= 2 ? true : undefined));
    expect((await root.berth("terminate", "m")).status).toBe(0);
  });
});

describe("too many open files", () => {
  // The hard limit: node raises the soft one.
  const limited = (limit: number): string[] => ["prlimit", `--nofile=${limit}:${limit}`, BERTHD];

  test("clients wait, machines go on and are seen to, and when there are fewer all is as before", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    await using daemon = await berthd(root, { program: limited(200) });
    expect((await root.berth("start", "m")).status).toBe(0);
    const pid = root.daemonPid();
    const wires = await Promise.all(Array.from({ length: 250 }, () => connect(root)));
    await poll("the log", () => (/no more clients are accepted: /.test(daemon.stderr) ? true : undefined));
    const { leader } = await root.recordWhen("m");
    expect(isRunning(leader.pid)).toBe(true);
    process.kill(leader.pid, "SIGTERM");
    await poll("its end", () => (root.leftovers().length === 0 ? true : undefined));
    for (const wire of wires) await wire[Symbol.asyncDispose]();
    await expectAlive(root, pid);
    expect((await root.berth("start", "m")).status).toBe(0);
    expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
    expect((await root.berth("poweroff", "m")).status).toBe(0);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    expect(daemon.stderr.match(/no more clients are accepted/g)?.length).toBeLessThan(5);
    expect(daemon.stderr).not.toContain("internal error");
  });

  test("in the midst of a start: that fails with a reason and leaves nothing, and with fewer the same daemon works", async () => {
    await using root = berthRoot();
    await shellMachine(root, "m");
    const limit = 200;
    await using daemon = await berthd(root, { program: limited(limit) });
    expect((await root.berth("start", "m")).status).toBe(0);
    expect((await root.berth("terminate", "m")).status).toBe(0);
    const pid = root.daemonPid() ?? 0;
    const failures: string[] = [];
    const commands = { environment: [], user: null, directory: null, stdio: "own" };
    await shellMachine(root, "other");
    expect((await root.berth("start", "other")).status).toBe(0);
    const wire = await connect(root);
    // Who accepts no clients any more still does what the others say, until there is not a single fd.
    const running: number[] = [];
    for (let refused = false; !refused; ) {
      const id = wire.ask("exec", { name: "other", argv: ["sleep", "1000"], ...commands });
      running.push(id);
      const answered = wire.answer(id).then(() => {
        refused = true;
      });
      const begun = (): boolean => wire.replies.some((reply) => reply.id === id && "event" in reply);
      await Promise.race([answered, poll("the command", () => (begun() ? true : undefined))]);
    }
    // Then one command after the other makes room.
    for (let started = false; !started; ) {
      const answer = await wire.call("start", { name: "m", timeout: 20_000 });
      if (answer !== undefined && "error" in answer) failures.push(answer.error.message);
      else started = true;
      if (!started) expect(root.leftovers().filter((path) => path.endsWith("/m"))).toEqual([]);
      const id = running.pop() ?? 0;
      wire.send(`${JSON.stringify({ id, cancel: true })}\n`);
      await wire.answer(id);
    }
    expect(await wire.call("terminate", { name: "m" })).toMatchObject({ result: null });
    expect(root.leftovers().filter((path) => path.endsWith("/m"))).toEqual([]);
    await wire[Symbol.asyncDispose]();
    await poll("the ends of the commands", () => (limit - openFds(pid).length > 100 ? true : undefined));
    expect(failures.length).toBeGreaterThan(0);
    for (const failure of failures)
      expect(failure).toMatch(/^starting m failed at step .*(EMFILE|too many open files|more fds)/is);
    expect((await root.berth("start", "m")).status).toBe(0);
    expect((await root.berth("terminate", "m", "other")).status).toBe(0);
    daemon.kill();
    expect((await daemon.end).status).toBe(0);
    expect(daemon.stderr).not.toContain("internal error");
  });
});

test("a log that can't be written to costs its lines, and nothing else", async () => {
  await using root = berthRoot();
  await shellMachine(root, "m");
  await using daemon = root.spawn(["sh", "-c", 'exec "$0" 2>/dev/full', BERTHD]);
  await expectAlive(root, await poll("the daemon", () => root.daemonPid()));
  expect((await root.berth("start", "m")).status).toBe(0);
  expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
  expect((await root.berth("terminate", "m")).status).toBe(0);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
});
