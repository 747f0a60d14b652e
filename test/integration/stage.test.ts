import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ExitRecord, exitRecordIn, readExitRecord } from "../../src/exec/exit-record.ts";
import type { Launch } from "../../src/exec/launch.ts";
import { lockFile, unlinkLocked } from "../../src/exec/lock-file.ts";
import { isAlive, startTimeOf } from "../../src/host/process-id.ts";
import { sweep } from "../../src/machine/sweep.ts";
import { stepOf } from "../../src/plan/join.ts";
import { EXECUTED } from "../../src/stage/stage-abi.ts";
import { StageProcess } from "../../src/stage/stage-process.ts";
import { SOCK_DGRAM, SOCK_STREAM } from "../../src/sys/constants.ts";
import { ARCH } from "../../src/sys/libc.ts";
import { pidfdSendSignal } from "../../src/sys/processes.ts";
import { boundDatagramSocket, connectedSocket, receive, sendWithFds, socketPair } from "../../src/sys/sockets.ts";
import { type KeptMachine, launchInChild } from "../lib/kept-machine.ts";
import { ended, type LogFrame, logFrames, says, stageOf, type TestMachine, testMachine } from "../lib/launch.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { FD, type Given, type Programs, plainClone, type StageRun, stage } from "../lib/stage.ts";

/** The stage with programs made by hand that spawn; test/unit/exec/stage.test.ts has how it runs one program. */
checkLeaks();

const SIGKILL = 9;
const END = -77;
let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "stage-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await sleep(5);
  }
}

describe("namespaces made ahead", () => {
  test("are held by a child until the program is handed over, and only there is anybody in them", async (ctx) => {
    needsHere(ctx, "root", "userns");
    const process = StageProcess.spawn(stageOf(ARCH));
    process.makeAhead({ namespaces: ["user", "net"], limits: [{ name: "sigpending", soft: 77, hard: 77 }] });
    const holder = await process.holder();
    for (const name of ["user", "net"]) {
      expect(readlinkSync(`/proc/${holder}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
      expect(readlinkSync(`/proc/${process.pid}/ns/${name}`)).toBe(readlinkSync(`/proc/self/ns/${name}`));
    }
    expect(readFileSync(`/proc/${holder}/limits`, "utf8")).toMatch(/pending signals +77 +77 /);
    expect(readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8")).toBe(`${holder} `);
    // One that is not needed takes it along.
    await process.discard();
    expect(existsSync(`/proc/${holder}`)).toBe(false);
  });

  test("end with a stage that is killed", async (ctx) => {
    needsHere(ctx, "root", "userns");
    const process = StageProcess.spawn(stageOf(ARCH));
    process.makeAhead({ namespaces: ["user"], limits: [] });
    const holder = await process.holder();
    pidfdSendSignal(process.pidfd, SIGKILL);
    await process.discard();
    await until("its child has ended", () => startTimeOf(holder) === undefined);
  });

  test("are asked for once more where they could not be made before", async (ctx) => {
    needsHere(ctx, "root", "userns", "tool:unshare");
    const module = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href);
    // The limits of a user namespace are those of who is in it.
    const script = `
      import { writeFileSync } from "node:fs";
      const { StageProcess } = await import(${module("stage/stage-process.ts")});
      const limit = (count) => writeFileSync("/proc/sys/user/max_net_namespaces", count);
      const stage = StageProcess.spawn(${JSON.stringify(stageOf(ARCH))});
      const ahead = { namespaces: ["user", "net"], limits: [] };
      limit("0");
      stage.makeAhead(ahead);
      try { await stage.holder(); } catch (error) { console.log(error.message); }
      stage.makeAhead(ahead);
      await new Promise((done) => setTimeout(done, 200)); // that it has failed by now is not seen from outside
      limit("9");
      console.log(await stage.holder() > 0);
      await stage.discard();`;
    const words = ["--user", "--map-root-user", process.execPath, "--input-type=module", "-e", script];
    const said = execFileSync("unshare", words, { encoding: "utf8" }).trim().split("\n");
    expect(said).toEqual([expect.stringMatching(/^clone3: ENOSPC/), "true"]);
  });
});

describe("a clone", () => {
  test("runs its program on a copy of the registers, and exits with 0", async () => {
    using run = stage({
      build: (p) => {
        const { asm, keeper, init, registers } = p;
        const { args } = plainClone(p);
        const [mine, status] = [asm.register(), asm.reserve(8)];
        asm.pseudo(keeper, "result", [7], { into: mine });
        asm.pseudo(init, "result", [mine], { accept: [7, 7] });
        asm.pseudo(init, "result", [8], { into: mine });
        asm.pseudo(keeper, "spawn", [args, 88, init], { accept: [1, 2 ** 31], into: registers.pid });
        asm.call(keeper, "wait4", [registers.pid, status, 0, 0], { accept: [1, 2 ** 31] });
        asm.pseudo(keeper, "load", [status], { accept: [0, 0] });
        asm.pseudo(keeper, "result", [mine], { accept: [7, 7] });
        asm.pseudo(keeper, "result", [-1], { into: registers.pid, accept: [-1, -1] });
        asm.pseudo(keeper, "result", [END]);
      },
    });
    await run.ended;
    expect(run.reports()).toEqual([{ who: 0, index: 6, result: END }]);
  });

  test("that fails reports as who it is, tells the keeper by one byte, and exits with 127", async () => {
    using run = stage({
      build: (p) => {
        const { asm, keeper, init, registers } = p;
        const { args } = plainClone(p);
        const status = asm.reserve(8);
        asm.call(init, "umask", [0]);
        asm.call(init, "openat", [-100, "/nowhere/at/all", 0]);
        asm.pseudo(keeper, "spawn", [args, 88, init], { accept: [1, 2 ** 31], into: registers.pid });
        asm.call(keeper, "close", [FD["init-end"]]);
        asm.call(keeper, "read", [FD["keeper-end"], asm.reserve(8), 1], { accept: [1, 1] });
        asm.call(keeper, "wait4", [registers.pid, status, 0, 0], { accept: [1, 2 ** 31] });
        asm.pseudo(keeper, "load", [status], { accept: [127 << 8, 127 << 8] });
        asm.pseudo(keeper, "result", [-1], { into: registers.pid, accept: [-1, -1] });
        asm.pseudo(keeper, "result", [END]);
      },
    });
    await run.ended;
    expect(run.reports()).toEqual([
      { who: 1, index: 1, result: -2 },
      { who: 0, index: 6, result: END },
    ]);
  });

  test("is killed and reaped when the keeper fails", async () => {
    const pidFile = join(directory, "pid");
    using run = stage({
      build: (p) => {
        const { asm, keeper, init, registers } = p;
        const { args } = plainClone(p);
        const [child, file] = [asm.reserve(8), asm.register()];
        asm.pseudo(keeper, "spawn", [args, 88, init], { accept: [1, 2 ** 31], into: registers.pid });
        asm.call(init, "read", [FD["init-end"], asm.reserve(8), 8]);
        asm.pseudo(keeper, "store", [child, registers.pid, 4]);
        asm.call(keeper, "openat", [-100, pidFile, constants.O_CREAT | constants.O_WRONLY, 0o600], { into: file });
        asm.call(keeper, "write", [file, child, 4]);
        asm.pseudo(keeper, "result", [END]);
      },
    });
    const { status } = await run.ended;
    expect(status).toBe(1);
    expect(existsSync(`/proc/${readFileSync(pidFile).readUInt32LE(0)}`)).toBe(false);
  });
});

/** A keeper whose machine is one shell, on a terminal of its own. */
interface Kept {
  readonly run: StageRun;
  readonly record: () => ExitRecord | null;
  readonly frames: (file?: string) => LogFrame[];
  readonly fds: Partial<Record<Given, number>>;
}

const O_TTY = constants.O_RDWR | constants.O_NOCTTY;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function shellMachine(p: Programs, script: string): void {
  const { asm, keeper, init, registers } = p;
  const { args, pidfd } = plainClone(p);
  asm.call(keeper, "openat", [-100, "/dev/ptmx", O_TTY | constants.O_NONBLOCK], { into: registers.master });
  asm.call(keeper, "ioctl", [registers.master, TIOCSPTLCK, asm.reserve(8)]);
  asm.call(keeper, "ioctl", [registers.master, TIOCGPTPEER, O_TTY], { into: registers.slave });
  asm.pseudo(keeper, "spawn", [args, 88, init], { accept: [1, 2 ** 31], into: registers.pid });
  asm.pseudo(keeper, "load", [pidfd], { into: registers.leader });
  asm.call(keeper, "close", [FD["init-end"]]);
  asm.call(keeper, "read", [FD["keeper-end"], asm.reserve(8), 1], { accept: [0, 0] });
  asm.call(init, "close", [FD["keeper-end"]]);
  asm.call(init, "setsid", []);
  for (const target of [0, 1, 2]) asm.call(init, "dup3", [registers.slave, target, 0]);
  asm.call(init, "close_range", [3, 0xffffffff, 4]);
  asm.call(init, "execve", ["/bin/sh", asm.stringArray(["sh", "-c", script]), asm.stringArray([PATH])]);
}

function keep(
  script: string,
  more: { fds?: Partial<Record<Given, number>>; logLimit?: number; foreground?: boolean } = {},
): Kept {
  const create = constants.O_CREAT | constants.O_RDWR | constants.O_APPEND;
  const fds = {
    ...more.fds,
    record: openSync(join(directory, "exit"), create, 0o600),
    directory: more.fds?.directory ?? openSync(directory, constants.O_DIRECTORY),
    log: more.fds?.log ?? openSync(join(directory, "console.log"), create, 0o600),
  };
  const { logLimit, foreground = false } = more;
  const run = stage({ build: (p) => shellMachine(p, script), fds, foreground, ...(logLimit && { logLimit }) });
  return {
    run,
    fds,
    record: () => readExitRecord(fds.record),
    frames: (file = "console.log") => logFrames(readFileSync(join(directory, file))),
  };
}

function closeAll({ fds }: Kept): void {
  for (const fd of Object.values(fds)) closeSync(fd);
}

const text = (frames: readonly LogFrame[]): string => frames.map(({ data }) => data).join("");

describe("the exit record", () => {
  test.each([
    ["exit 0", "exited", 0],
    ["exit 42", "exited", 42],
    ["kill -TERM $$", "killed", 15],
    ["kill -KILL $$", "killed", SIGKILL],
    ["ulimit -c unlimited; kill -QUIT $$", "dumped", 3],
  ] as const)("of `%s`: %s %i", async (script, reason, status) => {
    // A core file, where this host makes one, is the shell's in its working directory.
    const before = Date.now();
    const kept = keep(`cd ${directory}; ${script}`);
    const { run } = kept;
    await run.ended;
    const record = kept.record();
    expect(record).toMatchObject({ status });
    expect(reason === "dumped" ? ["dumped", "killed"] : [reason]).toContain(record?.reason);
    expect(record?.pid).toBeGreaterThan(1);
    expect(record?.time).toBeGreaterThanOrEqual(before - 1);
    expect(record?.time).toBeLessThanOrEqual(Date.now() + 1);
    closeAll(kept);
    run[Symbol.dispose]();
  });

  test("is not there while the machine runs, nor when the keeper was killed", async () => {
    const kept = keep("echo up; read line");
    await until("it is up", () => text(kept.frames()).includes("up"));
    expect(kept.record()).toBeNull();
    kept.run.process.kill("SIGKILL"); // its terminal hangs up, which ends the shell
    await kept.run.ended;
    expect(kept.record()).toBeNull();
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });
});

test("the end program runs when the machine has ended, with what is resident", async () => {
  const [committed, endedFile] = [join(directory, "committed"), join(directory, "ended")];
  const record = openSync(join(directory, "exit"), constants.O_CREAT | constants.O_RDWR, 0o600);
  using run = stage({
    fds: { record },
    build: (p) => {
      shellMachine(p, "exit 3");
      p.asm.call(p.commit, "mkdirat", [-100, committed, 0o700]);
      p.asm.call(p.undo, "mkdirat", [-100, join(directory, "undone"), 0o700]);
      p.asm.call(p.end, "close", [12345]); // fails: the others are done even so
      p.asm.call(p.end, "mkdirat", [-100, endedFile, 0o700]);
    },
  });
  expect((await run.ended).status).toBe(0);
  expect([committed, endedFile, join(directory, "undone")].map((path) => existsSync(path))).toEqual([
    true,
    true,
    false,
  ]);
  expect(readExitRecord(record)).toMatchObject({ reason: "exited", status: 3 });
  closeSync(record);
});

test("the keeper says when the machine runs and how it ended, and holds what it needs alone", async () => {
  const kept = keep("echo up; read line");
  await until("it is up", () => text(kept.frames()).includes("up"));
  expect(kept.run.said()).toEqual([[EXECUTED, 0, 0]]);
  const { pid } = kept.run.process;
  const held = [5, 6, 7].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  expect(held).toEqual([join(directory, "exit"), directory, join(directory, "console.log")]);
  for (const gone of [0, 1, 2]) expect(existsSync(`/proc/${pid}/fd/${gone}`)).toBe(true);
  kept.run.process.kill("SIGKILL");
  await kept.run.ended;
  closeAll(kept);
  kept.run[Symbol.dispose]();
});

describe("the console log", () => {
  test("holds all that was written, in frames with the time", async () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const words = ["echo one", "printf 'two\\n' >&2", "printf 'no end'"];
    const kept = keep(`cd ${directory}; ${words.join("; until rm go; do sleep 0.01; done 2>/dev/null; ")}`);
    // What is said before the keeper reads it is in one frame.
    for (const word of ["one", "two"]) {
      await until("it has said so", () => text(kept.frames()).includes(word));
      writeFileSync(join(directory, "go"), "");
    }
    await kept.run.ended;
    const frames = kept.frames();
    expect(text(frames)).toBe("one\r\ntwo\r\nno end");
    expect(frames.length).toBeGreaterThanOrEqual(3);
    const times = frames.map(({ time }) => time);
    expect(times).toEqual(times.toSorted());
    expect(times[0]).toBeGreaterThanOrEqual(before - 10_000_000n);
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });

  test("loses nothing of what is written right before the end", async () => {
    const kept = keep("seq 1 5000", { logLimit: 1 << 22 });
    await kept.run.ended;
    const numbers = text(kept.frames()).trim().split("\r\n");
    expect(numbers).toEqual(Array.from({ length: 5000 }, (_, index) => String(index + 1)));
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });

  test("goes on in a new file when it is full: the last two are kept, each within the limit", async () => {
    const limit = 4096;
    const start = "twenty-bytes-or-so-";
    const kept = keep(`i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo ${start}$i; sleep 0.0005; done`, {
      logLimit: limit,
    });
    await kept.run.ended;
    const [old, now] = ["console.log.1", "console.log"].map((file) => readFileSync(join(directory, file)));
    for (const bytes of [old, now]) expect(bytes?.length).toBeLessThanOrEqual(limit);
    expect((old?.length ?? 0) + (now?.length ?? 0)).toBeGreaterThan(limit);
    const lines = text([...kept.frames("console.log.1"), ...kept.frames()])
      .trim()
      .split("\r\n");
    expect(lines.at(-1)).toBe(`${start}400`);
    const numbers = lines.slice(1).map((line) => Number(line.slice(start.length)));
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => 401 - numbers.length + index));
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });

  test("that can't be rotated grows rather than lose lines", async () => {
    const elsewhere = openSync("/proc", constants.O_DIRECTORY);
    const kept = keep("for i in 1 2 3 4 5; do seq 100 199; sleep 0.01; done", {
      fds: { directory: elsewhere },
      logLimit: 1024,
    });
    await kept.run.ended;
    expect(text(kept.frames()).match(/^1\d\d\r\n/gm)).toHaveLength(500);
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });

  test("that can't be written harms nobody", async () => {
    const kept = keep("seq 1 500; exit 9", { fds: { log: openSync("/dev/full", constants.O_WRONLY) } });
    await kept.run.ended;
    expect(kept.record()).toMatchObject({ reason: "exited", status: 9 });
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });
});

describe("the mirror", () => {
  test("gets what the log gets", async () => {
    const [ours, mirror] = socketPair(SOCK_STREAM);
    const kept = keep("seq 1 300", { fds: { mirror } });
    closeSync(mirror);
    let seen = "";
    await until("the keeper has gone", () => {
      for (let message = receive(ours); message !== null; message = receive(ours)) {
        if (message.data.length === 0) return true;
        seen += message.data.toString();
      }
      return false;
    });
    expect(seen).toBe(text(kept.frames()));
    expect(seen).toMatch(/^1\r\n2\r\n.*300\r\n$/s);
    await kept.run.ended;
    closeAll({ ...kept, fds: withoutMirror(kept) });
    closeSync(ours);
    kept.run[Symbol.dispose]();
  });

  test("that is closed at the other end is dropped: log and machine go on", async () => {
    const [ours, mirror] = socketPair(SOCK_STREAM);
    const kept = keep("echo before; sleep 0.1; echo after; exit 4", { fds: { mirror } });
    closeSync(mirror);
    closeSync(ours);
    await kept.run.ended;
    expect(text(kept.frames())).toBe("before\r\nafter\r\n");
    expect(kept.record()).toMatchObject({ status: 4 });
    closeAll({ ...kept, fds: withoutMirror(kept) });
    kept.run[Symbol.dispose]();
  });

  function withoutMirror({ fds }: Kept): Kept["fds"] {
    const { mirror: _, ...others } = fds;
    return others;
  }
});

describe("the socket to the host", () => {
  test("kills a foreground machine when its other end closes", async () => {
    const kept = keep("trap '' TERM HUP INT; echo up; while :; do sleep 1; done", { foreground: true });
    await until("it is up", () => text(kept.frames()).includes("up"));
    expect(kept.record()).toBeNull();
    kept.run.hangUp();
    await kept.run.ended;
    expect(kept.record()).toMatchObject({ reason: "killed", status: SIGKILL });
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });
});

describe("notifications", () => {
  test("are read away while no host is there, and the fds in them closed", async () => {
    const path = join(directory, "notify");
    const theirs = boundDatagramSocket(path);
    const ours = connectedSocket(path, SOCK_DGRAM); // does not block
    const kept = keep("echo up; read line", { fds: { "notify-socket": theirs } });
    await until("it is up", () => text(kept.frames()).includes("up"));
    const send = (): boolean => {
      try {
        sendWithFds(ours, Buffer.from("STATUS=x"), [ours, ours]);
        return true;
      } catch {
        return false;
      }
    };
    while (send());
    await sleep(50);
    expect(send(), "the host is to read them").toBe(false);
    const before = openFds(kept.run.process.pid ?? 0);
    kept.run.hangUp();
    for (let sent = 0; sent < 100; sent++) await until("it is sent", send);
    await until("nothing is held any more", () => openFds(kept.run.process.pid ?? 0).length < before.length);
    expect(openFds(kept.run.process.pid ?? 0)).toHaveLength(before.length - 1);
    kept.run.process.kill("SIGKILL");
    await kept.run.ended;
    closeSync(ours);
    closeAll(kept);
    kept.run[Symbol.dispose]();
  });
});

async function initMachine(name: string): Promise<TestMachine> {
  return testMachine({ directory, root: await probeTree(), name, command: probe("init", "--term") });
}

async function endInOrder(machine: TestMachine, launch: Launch): Promise<void> {
  await says(machine, "up"); // it minds the signal by then
  process.kill(launch.leaderPid, "SIGTERM");
  expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited", status: 0 });
}

describe("a stage that was spawned ahead", () => {
  test("is taken with the namespaces it has made, and another one if they are not those that are needed", async (ctx) => {
    needsHere(ctx, "root", "userns", "cgroup2", "cc");
    const machine = await initMachine("ahead");
    const needed = stepOf(machine.plan, "spawn-stage").args;
    expect(needed.namespaces).toEqual(["user", "net"]);
    for (const [ahead, fits] of [
      [needed, true],
      [{ ...needed, namespaces: ["user"] as const }, false],
      [{ ...needed, limits: [{ name: "sigpending", soft: 77, hard: 77 }] as const }, false],
    ] as const) {
      const spare = StageProcess.spawn(stageOf(ARCH));
      spare.makeAhead(ahead);
      const holders = (): string => readFileSync(`/proc/${spare.pid}/task/${spare.pid}/children`, "utf8").trim();
      await until("somebody holds them", () => holders() !== "");
      const made = readlinkSync(`/proc/${holders()}/ns/user`);
      const launch = machine.launch({ spare });
      await launch.run();
      expect(readlinkSync(`/proc/${launch.leaderPid}/ns/user`) === made, JSON.stringify(ahead)).toBe(fits);
      expect(existsSync(`/proc/${spare.pid}`)).toBe(false);
      await endInOrder(machine, launch);
    }
  });
});

describe("the program of a machine that is started among others", () => {
  const among = (): boolean => true;

  test("is handed over whole, and does the same", async (ctx) => {
    needsHere(ctx, "root", "userns", "cgroup2", "cc");
    const machine = await initMachine("among");
    for (const [options, whole] of [
      [{}, false],
      [{ among }, true],
    ] as const) {
      const launch = machine.launch(options);
      let inParts: boolean | undefined;
      const noted = launch.fds.name.bind(launch.fds);
      launch.fds.name = (name, fd) => {
        if (name === "leader") inParts = launch.fds.has("whole");
        noted(name, fd);
      };
      await launch.run();
      expect(inParts).toBe(!whole);
      await endInOrder(machine, launch);
    }
  });

  test.each(["take-whole", "attach", "execute"] as const)("leaves nothing when step %s fails", async (kind) => {
    const machine = testMachine({ directory, root: await probeTree(), name: "among", command: probe("exit", "0") });
    const step = machine.plan.steps.findIndex((each) => each.kind === kind);
    const launch = machine.launch({ among, fail: { step, result: -5 } });
    await expect(launch.run()).rejects.toMatchObject({ index: step });
    expect(existsSync(machine.input.places.record)).toBe(false);
  });
});

/** A real machine, of the probe's tree, started by a process of its own that is then killed. */
describe("when the host process is killed", () => {
  const ready = needs("root", "userns", "cgroup2", "cc");
  let tree = "";
  beforeAll(async () => {
    if (ready) tree = await probeTree();
  });

  const launched = (foreground: boolean): Promise<KeptMachine> =>
    launchInChild({
      directory,
      root: tree,
      name: "kept",
      command: probe("init", "--term", "--status", "6"),
      request: { foreground },
    });

  test("a machine in the background runs on, and its exit is recorded", async () => {
    const { machine, leader, keeper, kill } = await launched(false);
    await kill();
    await sleep(50);
    expect([leader, keeper].map((process) => isAlive(process))).toEqual([true, true]);
    const { places } = machine.input;
    expect(lockFile(places.lock), "its name is locked").toBeNull();
    await says(machine, "up");
    process.kill(leader.pid, "SIGTERM");
    await until("the keeper has gone", () => !isAlive(keeper));
    expect(exitRecordIn(places.record)).toMatchObject({ reason: "exited", status: 6 });
    expect(sweep(machine.paths, console.error)).toEqual(["kept"]);
  });

  test("a machine of the foreground dies with it", async () => {
    const { machine, leader, keeper, kill } = await launched(true);
    expect(isAlive(leader)).toBe(true);
    await kill();
    await until("both have gone", () => !isAlive(leader) && !isAlive(keeper));
    const { places } = machine.input;
    expect(exitRecordIn(places.record)).toMatchObject({ reason: "killed", status: SIGKILL });
    const lock = lockFile(places.lock);
    expect(lock, "its name is free").not.toBeNull();
    unlinkLocked(places.lock, lock ?? -1);
    expect(sweep(machine.paths, console.error)).toEqual(["kept"]);
  });
});

/** Proportional set size in kB: proc_pid_smaps(5). */
function pss(pid: number): number {
  return Number(/^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);
}

describe("the keeper's memory", () => {
  const ready = needs("root", "userns", "cgroup2", "cc");

  test("is at most 60 kB, of its own and its share of others'", async () => {
    if (!ready) return;
    const machine = testMachine({ directory, root: await probeTree(), command: probe("init", "--term") });
    const launch = machine.launch();
    await launch.run();
    await says(machine, "up");
    // It gives its program back once init runs.
    await expect.poll(() => pss(launch.keeperPid)).toBeLessThanOrEqual(60);
    expect(pss(launch.keeperPid)).toBeGreaterThan(0);
    process.kill(launch.leaderPid, "SIGTERM");
    expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited" });
  });
});
