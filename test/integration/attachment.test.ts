/** A machine whose supervisor has gone takes another one: console, notifications, locks and exit go on. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BerthError } from "../../src/errors.ts";
import { type Attachment, attach } from "../../src/exec/attachment.ts";
import { killCgroup } from "../../src/exec/cgroup.ts";
import { exitRecordIn } from "../../src/exec/exit-record.ts";
import { treeLock } from "../../src/exec/lock-file.ts";
import { claimFiles } from "../../src/exec/range-claim.ts";
import { isAlive } from "../../src/host/process-id.ts";
import { sweep } from "../../src/machine/sweep.ts";
import { cgroupPath } from "../../src/plan/cgroup.ts";
import { type Notification, watchNotifications } from "../../src/supervise/notify.ts";
import { isLocked } from "../../src/sys/file-lock.ts";
import { becomeSubreaper, pidfdSendSignal } from "../../src/sys/processes.ts";
import { type KeptMachine, launchInChild, launchKilledAt } from "../lib/kept-machine.ts";
import { consoleLog, type MachineOptions, says, type TestMachine, testMachine } from "../lib/launch.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

const SIGTERM = 15;
const SIGKILL = 9;
let tree = "";
let directory = "";
beforeAll(async () => {
  if (ready) tree = await probeTree();
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "attachment-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** What a machine of these tests is, but for its name. */
function options(more: Partial<MachineOptions> = {}): MachineOptions {
  return { directory, root: tree, name: "kept", command: probe("init", "--term", "--status", "6"), ...more };
}

async function attached({ machine }: Pick<KeptMachine, "machine">, more = {}): Promise<Attachment> {
  const attachment = await attach(machine.input.places.record, { name: "kept", ...more });
  if (attachment === null) throw new Error("there is no keeper");
  return attachment;
}

async function stop(attachment: Attachment): Promise<void> {
  pidfdSendSignal(attachment.fds.get("leader"), SIGTERM);
  expect(await attachment.exit()).toEqual({ reason: "exited", status: 6 });
  await attachment.keeperEnd();
  attachment.release();
}

/** Nothing of it is left where berth keeps such things. */
function expectGone({ input: { places } }: TestMachine): void {
  for (const path of [places.record, places.lock, places.layer]) expect(existsSync(path), path).toBe(false);
  for (const registry of [places.ranges, places.trees])
    if (existsSync(registry)) expect(readdirSync(registry), registry).toEqual([]);
}

const outputOf = (machine: TestMachine): string =>
  consoleLog(machine)
    .map(({ data }) => data)
    .join("");

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await sleep(5);
  }
}

/** Says much, is ready, repeats what is typed, says that it stops, and stays. */
const TALKER = probe(
  ...Array.from({ length: 100 }, (_, index) => ["notify", `STATUS=${index}`, "--"]).flat(),
  ...["notify", "A=B\nREADY=1\nSTATUS=x", "--", "cwd", "--", "echo", "--"],
  ...["notify", "STATUS=after", "--", "init", "--term", "--status", "6"],
);

describe("a machine whose supervisor was killed", () => {
  test.each([0, 1, 3, 10, 30, 100])("after %i ms takes another one, and nobody waited for it", async (delay) => {
    const kept = await launchInChild(options({ command: TALKER }));
    await sleep(delay);
    await kept.kill();
    await says(kept.machine, '"verb":"cwd"'); // 100 notifications, and ten fit into the socket
    const attachment = await attached(kept);
    expect([attachment.leaderPid, attachment.keeperPid]).toEqual([kept.leader.pid, kept.keeper.pid]);
    const heard: Notification[] = [];
    const unwatch = watchNotifications(attachment.fds.get("notify-socket"), attachment.leaderPid, (notification) =>
      heard.push(notification),
    );
    // The keeper has heard it, or it still lies in the socket.
    await until("it is ready", () => attachment.saidReady || heard.some((each) => each.ready));
    expect(attachment.saidStopping).toBe(false);
    writeSync(attachment.fds.get("console"), "typed\n\x04");
    await says(kept.machine, "up");
    expect(outputOf(kept.machine).match(/typed\r\n/g)).toHaveLength(2); // by the terminal, by the program
    await until("a notification", () => heard.some(({ status }) => status === "after"));
    unwatch();
    await stop(attachment);
    expectGone(kept.machine);
  });

  test("takes one after the other, each of which hears what is said meanwhile", async () => {
    const lines = [
      ...["echo", "--", "notify", "STATUS=more", "--", "echo", "--"],
      ...["notify", "STOPPING=1", "--", "sleep", "100", "--", "cwd", "--"],
    ];
    const kept = await launchInChild(options({ command: probe(...lines, "init", "--term", "--status", "6") }));
    await kept.kill();
    const first = await attached(kept);
    expect([first.saidReady, first.saidStopping]).toEqual([false, false]);
    writeSync(first.fds.get("console"), "one\n\x04");
    const ended = first.exit();
    await first.detach();
    expect(await ended).toBeNull();
    const second = await attached(kept);
    writeSync(second.fds.get("console"), "two\n\x04");
    await second.detach();
    await says(kept.machine, '"verb":"cwd"');
    const third = await attached(kept);
    expect([third.saidReady, third.saidStopping]).toEqual([false, true]);
    await says(kept.machine, "up\r\n");
    await stop(third);
    expectGone(kept.machine);
  });

  test("keeps all its locks, and a second start is refused", async () => {
    for (const name of ["lower", "upper"]) mkdirSync(join(directory, name));
    const overlay = `--overlay=${directory}/lower:${directory}/upper:/tmp`;
    const kept = await launchInChild(options({ options: [overlay, "--private-users=pick"] }));
    const locks = locksOf(kept.machine);
    expect(locks.length).toBeGreaterThanOrEqual(4);
    await kept.kill();
    await says(kept.machine, "up");
    expect(locks.filter((path) => !isLocked(path))).toEqual([]);
    const same = testMachine(options({ options: [overlay] }));
    await expect(same.launch().run()).rejects.toThrow("machine kept is running already");
    const other = testMachine(options({ name: "other" }));
    await expect(other.launch().run()).rejects.toThrow(`${tree} is in use by another machine`);
    const copy = join(directory, "copy");
    cpSync(tree, copy, { recursive: true });
    const layer = testMachine(options({ name: "third", root: copy, options: [overlay] }));
    await expect(layer.launch().run()).rejects.toThrow(`${directory}/upper is in use by another machine`);
    const attachment = await attached(kept);
    expect(locks.filter((path) => !isLocked(path))).toEqual([]);
    await stop(attachment);
    expect(locks.filter((path) => existsSync(path))).toEqual([]);
    expectGone(kept.machine);
  });

  /** Files of all that a plan locks. */
  function locksOf({ plan: { steps } }: TestMachine): string[] {
    return steps.flatMap((step) => {
      if (step.kind === "lock-name" || step.kind === "lock-use") return [step.args.path];
      if (step.kind === "lock-tree") return [treeLock(step.args.registry, step.args.tree)];
      return step.kind === "claim-range" ? claimFiles(step.args) : [];
    });
  }

  test("that is said to be ready by another process than its PID 1 is not believed to be", async () => {
    const kept = await launchInChild(
      options({ command: probe("init", "--term", "--status", "6", "notify", "READY=1") }),
    );
    await kept.kill();
    await says(kept.machine, '"verb":"notify","ok":true');
    const attachment = await attached(kept);
    expect(attachment.saidReady).toBe(false);
    await stop(attachment);
  });

  test("has one supervisor at a time", async () => {
    const kept = await launchInChild(options());
    const busy = { message: "machine kept is supervised by another process", kind: "Busy" };
    // Its keeper answers when it has done with the start.
    await expect(attached(kept, { patience: 1000 })).rejects.toMatchObject(busy);
    await kept.kill();
    const attachment = await attached(kept);
    await expect(attached(kept, { patience: 1000 })).rejects.toMatchObject(busy);
    await says(kept.machine, "up");
    await stop(attachment);
  });

  test("that ends before anybody came: its exit is recorded, and it is swept", async () => {
    const kept = await launchInChild(options());
    await says(kept.machine, "up");
    await kept.kill();
    process.kill(kept.leader.pid, SIGTERM);
    await until("the keeper has gone", () => !isAlive(kept.keeper));
    const { record } = kept.machine.input.places;
    expect(await attach(record, { name: "kept" })).toBeNull();
    expect(exitRecordIn(record)).toMatchObject({ reason: "exited", status: 6, pid: kept.leader.pid });
    expect(sweep(kept.machine.paths, console.error)).toEqual(["kept"]);
    expect(exitRecordIn(record)).toBeNull();
    expect(await attach(record, { name: "kept" })).toBeNull();
    expectGone(kept.machine);
  });

  test("is released with what its logs are kept by, and an ephemeral one's changes stay for its reboot", async () => {
    const ephemeral = options({ settings: "[Exec]\nEphemeral=yes\n" });
    const writes = probe("write", "/kept", "over the reboot", "--", "init", "--term", "--status", "6");
    const kept = await launchInChild({ ...ephemeral, command: writes });
    await kept.kill();
    await says(kept.machine, "up");
    const logs: string[] = [];
    const onRelease = (from: string): void => void logs.push(readFileSync(join(from, "console.log"), "latin1"));
    const attachment = await attached(kept, { onRelease });
    pidfdSendSignal(attachment.fds.get("leader"), SIGTERM);
    await attachment.exit();
    await attachment.keeperEnd();
    attachment.release(false, true);
    expect(logs).toHaveLength(1);
    expect(logs[0]).toContain("stopping");
    const { places } = kept.machine.input;
    expect([existsSync(places.record), existsSync(places.lock), existsSync(places.layer)]).toEqual([
      false,
      false,
      true,
    ]);
    const again = testMachine({ ...ephemeral, command: probe("cat", "/kept"), request: { reboot: true } });
    const launch = again.launch({ onRelease });
    await launch.run();
    await launch.exit();
    await launch.keeperEnd();
    launch.release();
    expect(logs[1]).toContain("over the reboot");
    expectGone(again);
  });
});

/** As soon as the launch has the fd of that name, or after so many ms. */
const KILLED_AT = ["stage", "directory", "rendezvous", "root", "keeper", "leader", "user-namespace", "console"];
const KILLED_LATER = [1, 2, 4, 6, 9, 13, 20, 30];

describe("a start whose process is killed", () => {
  test.each([...KILLED_AT, ...KILLED_LATER])("at %s leaves a machine that runs, or what is swept", async (at) => {
    await launchKilledAt(options(), at);
    const machine = testMachine(options());
    const { places } = machine.input;
    // Of a machine that is not recorded yet the directory alone is known.
    const attachment = await attach(places.record, { name: "kept" }).catch((error: unknown) => {
      if (error instanceof BerthError && error.kind === "NotSupported") return null; // not even a rendezvous
      throw error;
    });
    if (attachment === null) {
      await until("the keeper has cleaned up", () => !isLocked(places.lock) && !isLocked(join(places.record, "exit")));
      sweep(machine.paths, console.error);
      expect(existsSync(places.record)).toBe(false);
    } else {
      await says(machine, "up");
      await stop(attachment);
      expectGone(machine);
    }
    // What it takes no notice of is files that nobody has locked.
    const again = testMachine(options({ command: probe("exit", "7") })).launch();
    await again.run();
    expect(await again.exit()).toEqual({ reason: "exited", status: 7 });
    await again.keeperEnd();
    again.release();
    expectGone(machine);
  });
});

describe("a keeper", () => {
  test("that is stopped does not answer, and does when it goes on", async () => {
    const kept = await launchInChild(options());
    await kept.kill();
    process.kill(kept.keeper.pid, "SIGSTOP");
    await expect(attached(kept, { patience: 100 })).rejects.toMatchObject({ kind: "Timeout" });
    process.kill(kept.keeper.pid, "SIGCONT");
    const attachment = await attached(kept);
    await says(kept.machine, "up");
    await stop(attachment);
  });

  test("has as many fds after a hundred supervisors as after one", async () => {
    const kept = await launchInChild(options());
    await kept.kill();
    await says(kept.machine, "up");
    const held: number[] = [];
    for (let round = 0; round < 100; round++) {
      const attachment = await attached(kept);
      held.push(openFds(kept.keeper.pid).length);
      await attachment.detach();
    }
    expect(new Set(held)).toEqual(new Set([held[0]]));
    await stop(await attached(kept));
  });

  test("of a machine in the foreground takes nobody", async () => {
    const machine = testMachine(options({ request: { foreground: true } }));
    const launch = machine.launch();
    await launch.run();
    await expect(attached({ machine })).rejects.toMatchObject({ kind: "NotSupported" });
    await says(machine, "up");
    pidfdSendSignal(launch.fds.get("leader"), SIGTERM);
    await launch.exit();
    await launch.keeperEnd();
    launch.release();
  });

  test("has at most 32 kB of its own, its program included", async () => {
    const kept = await launchInChild(options());
    await kept.kill();
    const attachment = await attached(kept);
    const memory = readFileSync(`/proc/${kept.keeper.pid}/smaps_rollup`, "utf8");
    const [pss, dirty] = ["Pss", "Private_Dirty"].map((name) =>
      Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(memory)?.[1]),
    );
    console.info(`the keeper: ${pss} kB PSS, of which ${dirty} kB are its own`);
    expect(dirty).toBeLessThanOrEqual(32);
    await says(kept.machine, "up");
    await stop(attachment);
  });

  test.each(["launched", "attached to"])("that is killed leaves a machine that is %s to be killed", async (how) => {
    becomeSubreaper();
    try {
      const running = how === "launched" ? await launchHere() : await attachedTo();
      const { machine, boot } = running;
      const leader = boot.leaderPid;
      process.kill(boot.keeperPid, SIGKILL);
      expect(await boot.exit()).toBeNull();
      await boot.keeperEnd();
      killCgroup(join(cgroupPath(machine.input), "payload"));
      boot.release();
      // Its parent was the keeper. We are a subreaper, and no ancestor of who launched the other one: that is PID 1's.
      if (how === "launched") expect(existsSync(`/proc/${leader}`)).toBe(false);
      expectGone(machine);
    } finally {
      becomeSubreaper(false);
    }
  });

  async function launchHere() {
    const machine = testMachine(options());
    const boot = machine.launch();
    await boot.run();
    return { machine, boot };
  }

  async function attachedTo() {
    const kept = await launchInChild(options());
    await kept.kill();
    return { machine: kept.machine, boot: await attached(kept) };
  }
});
