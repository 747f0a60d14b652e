/** Snapshots: what they keep, of one moment also while a machine writes; rollbacks, which nobody sees half. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { lockFile, treeLock, unlinkLocked } from "../../src/exec/lock-file.ts";
import { FOLLOWER_VERB } from "../../src/image/follow/protocol.ts";
import { readOrigin, writeOrigin } from "../../src/image/origin.ts";
import { TREES_IN_USE } from "../../src/machine/places.ts";
import {
  BERTH,
  type BerthRoot,
  buildBerth,
  caught,
  isRunning,
  poll,
  type Running,
  signalIfThere,
} from "../lib/berth.ts";
import { killDaemon } from "../lib/daemon.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { asImage, type ImageRoot, imageRoot } from "../lib/image-root.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { leaseOn } from "../lib/lease.ts";
import { manifest } from "../lib/manifest.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs(
  ...(["root", "userns", "cgroup2", "cc", "tool:python3", "tool:getcap", "tool:btrfs"] as const),
  ...toolsOf("btrfs"),
);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Told {
  readonly name: string;
  readonly running: boolean;
  readonly frozenMs: number | null;
  readonly replacedBy: string | null;
  readonly comment: string;
}

async function list({ done }: ImageRoot, name: string): Promise<readonly Told[]> {
  return JSON.parse(await done("snapshots", name, "--json"));
}

async function names(store: ImageRoot, name: string): Promise<readonly string[]> {
  return (await list(store, name)).map((each) => each.name);
}

/**
 * berth that is killed, and all of its processes are, before its system call of this number (from 1) of these kinds.
 * Only these stop it (--seccomp-bpf): to stop at every call takes three times as long.
 */
function killedAt(root: BerthRoot, calls: string, step: number, ...words: readonly string[]): Running {
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:signal=SIGKILL:when=${step}`];
  return root.spawn(["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", ...inject, BERTH, ...words]);
}

/** Counts in /a, then in /b, as fast as it can: /b is never ahead. */
const WRITER =
  "trap 'exit 0' TERM; i=0; (while :; do i=$((i+1)); echo $i >/a; echo $i >/b; done) & while :; do sleep 1000 & wait $!; done";

function count(tree: string, name: string): number {
  return Number(readFileSync(join(tree, name), "utf8"));
}

/** Of a machine that writes all the while, by following what it changes or by btrfs. */
async function takeOfWriter(store: ImageRoot): Promise<void> {
  const { root, machines, done } = store;
  await shellMachine(root, "m", WRITER);
  await asImage(store, "m");
  await done("start", "m");
  const tree = join(machines, "m");
  await poll("its first writes", () => (existsSync(join(tree, "b")) ? true : undefined));
  for (const name of ["one", "two", "three"]) {
    await sleep(50);
    const told = JSON.parse(await done("snapshot", "m", name, "--json"));
    expect(told).toMatchObject({ name, running: true, frozenMs: expect.any(Number) });
  }
  let last = 0;
  for (const name of ["one", "two", "three"]) {
    const kept = join(machines, ".berth-snapshots/m", name, "image");
    const [a, b] = [count(kept, "a"), count(kept, "b")];
    // What is written is cut before: it may be empty, between the two steps of a shell.
    if (a > 0 && b > 0) expect([0, 1], `${name}: ${a} ${b}`).toContain(a - b);
    expect(Math.max(a, b)).toBeGreaterThan(last);
    last = Math.max(a, b);
  }
  const now = count(tree, "a");
  await poll("its further writes", () => (count(tree, "a") > now ? true : undefined));
  expect(existsSync(join(root.path, "run/still/m"))).toBe(false);
  await done("poweroff", "m");
}

test("a machine on XFS that writes runs on as well; its snapshots are each of one moment", async (ctx) => {
  needsHere(ctx, ...toolsOf("xfs"));
  await using store = await imageRoot("directory", "xfs");
  await takeOfWriter(store);
});

test("on XFS the times of a tree's root are those of the snapshot, and of the archive, where it takes another one's place", async (ctx) => {
  needsHere(ctx, ...toolsOf("xfs"));
  await using store = await imageRoot("directory", "xfs");
  const { root, machines, done } = store;
  const web = join(machines, "web");
  const mtime = (path: string): number => statSync(path).mtimeMs;
  richTree(web);
  utimesSync(web, 1e9, 1e9);
  const archive = join(root.path, "web.tar");
  await done("export-tar", "web", archive);
  await done("snapshot", "web", "one");
  utimesSync(web, 2e9, 2e9);
  await done("rollback", "web", "one");
  expect(mtime(web)).toBe(1e12);
  expect(mtime(join(machines, ".berth-snapshots/web/before-rollback/image"))).toBe(2e12);
  await done("rollback", "--undo", "web");
  expect(mtime(web)).toBe(2e12);
  await done("import-tar", "--force", archive, "web");
  expect(mtime(web)).toBe(1e12);
});

describe.each(["directory", "btrfs"] as const)("%s", (driver) => {
  test("snapshot keeps the tree and its settings; rollback brings both back together, and keeps what was there", async () => {
    await using store = await imageRoot(driver);
    const { root, machines, done } = store;
    richTree(join(machines, "web"));
    await asImage(store, "web");
    const web = join(machines, "web");
    const before = manifest(web);
    root.settings("web", "[Exec]\nHostname=one");
    mkdirSync(join(root.etc, "machines/web.nspawn.d"));
    writeFileSync(join(root.etc, "machines/web.nspawn.d/10-more.conf"), "[Exec]\nUser=1\n");
    expect(await done("snapshot", "web", "--comment", "as it came")).toBe("snap0\n");

    writeFileSync(join(web, "etc/new"), "new");
    rmSync(join(web, "etc/os-release"));
    root.settings("web", "[Exec]\nHostname=two");
    rmSync(join(root.etc, "machines/web.nspawn.d"), { recursive: true });
    writeFileSync(`${web}.nspawn`, "[Exec]\nBoot=no\n");
    const changed = manifest(web);
    expect(await done("snapshot", "web", "second")).toBe("second\n");
    expect(await list(store, "web")).toMatchObject([
      { name: "snap0", comment: "as it came", driver, running: false, frozenMs: null, replacedBy: null },
      { name: "second", comment: "" },
    ]);

    await done("rollback", "web", "snap0");
    expect(manifest(web)).toEqual(before);
    expect(readFileSync(join(root.etc, "machines/web.nspawn"), "utf8")).toContain("one");
    expect(readFileSync(join(root.etc, "machines/web.nspawn.d/10-more.conf"), "utf8")).toContain("User=1");
    expect(existsSync(`${web}.nspawn`)).toBe(false);
    expect(await names(store, "web")).toEqual(["snap0", "second", "before-rollback"]);
    await done("rollback", "web", "--undo");
    expect(manifest(web)).toEqual(changed);
    expect(readFileSync(join(root.etc, "machines/web.nspawn"), "utf8")).toContain("two");
    expect(existsSync(join(root.etc, "machines/web.nspawn.d"))).toBe(false);
    expect(existsSync(`${web}.nspawn`)).toBe(true);
    await done("rollback", "web", "--confirm");
    expect(await names(store, "web")).toEqual(["snap0", "second"]);
    expect(await store.refused("rollback", "web", "--undo")).toContain("was not rolled back");

    // The newest that somebody asked for.
    await done("rollback", "web");
    expect(manifest(web)).toEqual(changed);
    expect(await list(store, "web")).toMatchObject([{}, {}, { name: "before-rollback", replacedBy: "second" }]);
    expect(readdirSync(`${root.etc}/machines`).filter((name) => name.startsWith("."))).toEqual([]);
    await done("remove", "--snapshots", "web");
    expect(readdirSync(join(machines, ".berth-snapshots"))).toEqual([]);
  });

  test("a machine that writes runs on; its snapshots are each of one moment", async () => {
    await using store = await imageRoot(driver);
    await takeOfWriter(store);
  });

  test("rollback of a running machine is refused, or with --restart stops it before and boots it after", async () => {
    await using store = await imageRoot(driver);
    const { root, machines, done, refused } = store;
    await shellMachine(root, "m", ENDLESS);
    await asImage(store, "m");
    await done("start", "m");
    expect(await root.berth("snapshot", "m")).toMatchObject({
      ...{ status: 0, stdout: "snap0\n" },
      stderr: expect.stringMatching(/^berth: what runs from m was stopped for [0-9.]+ ms\n$/),
    });
    await done("exec", "m", "--", "sh", "-c", "echo later >/etc/later");
    const { leader } = await root.recordWhen("m");
    expect(await refused("rollback", "m")).toBe(
      "berth: machine m is running\nhint: --restart powers it off before and boots it again\n",
    );
    expect(await refused("rollback", "m", "nix", "--restart")).toContain('image m has no snapshot "nix"');
    expect(root.record("m")?.leader).toEqual(leader);
    expect(JSON.parse(await done("rollback", "m", "--restart", "--json"))).toEqual({
      kept: "before-rollback",
      restarted: true,
    });
    expect(root.record("m")?.leader).not.toEqual(leader);
    expect(existsSync(join(machines, "m/etc/later"))).toBe(false);
    await done("rollback", "m", "--undo", "--restart");
    expect(await done("exec", "m", "--", "cat", "/etc/later")).toBe("later\n");
    await done("poweroff", "m");
  });

  test("marks, ids and names: a rollback keeps them, a renamed image takes its snapshots along", async () => {
    await using store = await imageRoot(driver);
    const { root, machines, done } = store;
    await probeTree({ at: join(machines, "web") });
    await asImage(store, "web");
    writeOrigin({ machines }, "web", "made of it");
    expect((await root.berth("run", "-q", "-M", "web", "--pipe", "--", "/probe", "ids")).status).toBe(0);
    const ranges = (): object => JSON.parse(readFileSync(join(machines, ".berth-ranges.json"), "utf8")).ranges;
    const before = ranges();
    await done("snapshot", "web");
    writeFileSync(join(machines, "web/etc/new"), "");
    await done("read-only", "web");
    await done("rollback", "web");
    expect(existsSync(join(machines, "web/etc/new"))).toBe(false);
    expect(await done("list-images")).toMatch(/^web +\S+ +yes /m);
    expect(ranges()).toEqual(before);
    await done("rename", "web@snap0", "first");
    const orphan = join(machines, ".berth-snapshots/web2/old");
    mkdirSync(orphan, { recursive: true });
    expect(await store.refused("rename", "web", "web2")).toContain(
      "snapshots of an earlier image web2, such as web2@old",
    );
    expect(await names(store, "web")).toEqual(["first", "before-rollback"]);
    rmSync(orphan, { recursive: true });
    await done("rename", "web", "web2");
    expect(await names(store, "web2")).toEqual(["first", "before-rollback"]);
    await done("clone", "web2@before-rollback", "other");
    expect(["web2", "other"].map((name) => readOrigin({ machines }, name))).toEqual(["made of it", "made of it"]);
    expect(existsSync(join(machines, "other/etc/new"))).toBe(true);
    await done("export-tar", "web2@first", join(root.path, "first.tar"));
    expect(execFileSync("tar", ["-tf", join(root.path, "first.tar")], { encoding: "utf8" })).not.toContain("etc/new");
    expect(JSON.parse(await done("show-image", "web2@first", "--json"))).toMatchObject({ name: "web2@first" });
    expect(await store.refused("remove", "web2")).toBe(
      "berth: image web2 has 2 snapshots\nhint: berth remove --snapshots web2 removes them with the image\n",
    );
    expect(await root.berth("clean", "--all")).toMatchObject({
      stdout: expect.stringMatching(/^removed other, .*\n$/),
      stderr: "berth: image web2 has 2 snapshots, so it is kept\n",
    });
    await done("remove", "web2@first", "web2@before-rollback");
    await done("remove", "web2");
  });

  test("whoever is killed at any step of a rollback: the next one finds all of it done, or nothing", async (ctx) => {
    needsHere(ctx, "tool:strace");
    await using store = await imageRoot(driver);
    const { root, machines, done } = store;
    mkdirSync(join(machines, "web/etc"), { recursive: true });
    await asImage(store, "web");
    const file = join(machines, "web/etc/state");
    const settings = root.settings("web", "[Exec]\nHostname=one");
    writeFileSync(file, "one");
    await done("snapshot", "web");
    writeFileSync(file, "two");
    root.settings("web", "[Exec]\nHostname=two");
    const ends = new Set<string>();
    for (const calls of ["rename,renameat2", "fsync", "mkdir,unlink,rmdir"])
      for (let step = 1; ; step++) {
        await using child = killedAt(root, calls, step, "rollback", "web");
        const { status } = await child.end;
        await done("clean");
        const [tree, text] = [readFileSync(file, "utf8"), readFileSync(settings, "utf8")];
        expect(text, `${calls} ${step}`).toContain(`Hostname=${tree}`);
        const kept = (await names(store, "web")).filter((name) => name.startsWith("before"));
        expect(kept, `${calls} ${step}`).toEqual(tree === "one" ? ["before-rollback"] : []);
        expect(readdirSync(machines).sort(), `${calls} ${step}`).toEqual([".berth-snapshots", "web"]);
        expect(readdirSync(join(root.etc, "machines")).filter((name) => !name.startsWith(".berth-settings"))).toEqual([
          "web.nspawn",
        ]);
        if (tree === "one") {
          await done("rollback", "web", "--undo");
          await done("rollback", "web", "--confirm");
        }
        expect(readFileSync(file, "utf8")).toBe("two");
        ends.add(status === 0 ? "done" : `killed, ${tree}`);
        if (status === 0) break;
        expect(step).toBeLessThan(60);
      }
    expect([...ends].sort()).toEqual(["done", "killed, one", "killed, two"]);
  }, 300_000);
});

test("rollback --restart of a machine that does not power off: it says that it waits, and --timeout= is how long", async () => {
  await using store = await imageRoot("directory");
  const { root, done } = store;
  await shellMachine(root, "m", "trap : TERM; echo up; while :; do sleep 1; done");
  await done("start", "m");
  await done("snapshot", "m", "--json");
  expect(await root.berth("rollback", "m", "--timeout=5")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("--restart"),
  });
  const end = await root.berth("rollback", "m", "--restart", "--timeout=4");
  expect(end).toMatchObject({ status: 0, stdout: expect.stringContaining("what was there is m@before-rollback") });
  expect(end.stderr).toContain("berth: machine m is still shutting down");
  expect(end.stderr).toContain("berth terminate m does that now");
  // Who does not want to wait for the rest of it does what it says.
  await using child = root.start("rollback", "m", "--undo", "--restart");
  await child.until(/is still shutting down/);
  await done("terminate", "m");
  expect((await child.end).status).toBe(0);
  const { status, stderr } = await root.berth("poweroff", "m", "--timeout=4");
  expect([status, stderr]).toEqual([1, expect.stringMatching(/still shutting down.*\n.*was killed/)]);
});

test("a daemon that is killed while it holds a machine still: the next one lets it go on", async (ctx) => {
  needsHere(ctx, "tool:strace");
  await using store = await imageRoot("directory");
  const { root, machines, done } = store;
  // Of what is in memory all is copied while it stands still, which takes as long as a file of it can't be opened.
  using disk = await mountFileSystem("tmpfs", join(root.path, "memory"), async () => undefined);
  execFileSync("mount", ["--bind", disk.path, machines]);
  using _mounted = { [Symbol.dispose]: () => void execFileSync("umount", [machines]) };
  await shellMachine(root, "m", WRITER);
  writeFileSync(join(machines, "m/held"), "");
  await done("start", "m");
  await using lease = await leaseOn(join(machines, "m/held"));
  const frozen = (): string => readFileSync(join(root.record("m")?.cgroup ?? "", "payload/cgroup.freeze"), "utf8");
  await using child = root.start("snapshot", "m");
  await poll("its stop", () => (frozen() === "1\n" ? true : undefined));
  await killDaemon(root);
  expect((await child.end).stderr).toContain("berthd has gone");
  await lease[Symbol.asyncDispose]();
  expect(frozen()).toBe("1\n");
  expect((await root.berth("daemon", "start")).status).toBe(0);
  expect(frozen()).toBe("0\n");
  expect(readdirSync(join(root.path, "run/still"))).toEqual([]);
  const now = count(join(machines, "m"), "a");
  await poll("its writes", () => (count(join(machines, "m"), "a") > now ? true : undefined));
  await poll("what is left is swept", () =>
    readdirSync(machines).some((name) => name.startsWith(".berth-making")) ? undefined : true,
  );
  expect(await names(store, "m")).toEqual([]);
  // One that its administrator has paused stays so.
  await done("pause", "m");
  expect(JSON.parse(await done("snapshot", "m", "--json"))).toMatchObject({ running: true, frozenMs: null });
  expect(frozen()).toBe("1\n");
  await done("resume", "m");
  await root.berth("daemon", "stop", "--machines");
});

/** Of the process that follows the changes of a machine's files. */
function followerPid(): number | undefined {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => readIfThere(`/proc/${pid}/cmdline`).endsWith(`\0${FOLLOWER_VERB}\0`));
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** False: it has ended. Where a tracer has just left it a signal may be lost. */
function stopIfThere(pid: number): Promise<boolean> {
  return poll(`the stop of ${pid}`, () => {
    if (!isRunning(pid)) return false;
    signalIfThere(pid, "SIGSTOP");
    return /^State:\s*T/m.test(readIfThere(`/proc/${pid}/status`)) || undefined;
  });
}

test("a machine whose files are followed: whoever is killed while it is still, or before, it goes on, and nothing is left", async (ctx) => {
  needsHere(ctx, "tool:strace");
  await using store = await imageRoot("directory");
  const { root, machines, done } = store;
  await shellMachine(root, "m", WRITER, "[Machine]\nRestart=always\n");
  mkdirSync(join(machines, "m/bulk"));
  for (let index = 0; index < 300; index++) writeFileSync(join(machines, "m/bulk", `${index}`), "x".repeat(500));
  await done("start", "m");
  const frozen = (): string => readIfThere(join(root.record("m")?.cgroup ?? "", "payload/cgroup.freeze"));
  /** Looking at names takes it so long then that what is to be seen can be. */
  const slowed = async (pid: number): Promise<AsyncDisposable> => {
    const delay = ["-e", "trace=statx", "-e", "inject=statx:delay_enter=3000"];
    const strace = root.spawn(["strace", "-f", "-o", "/dev/null", ...delay, "-p", `${pid}`]);
    await strace.until(/attached/);
    return strace;
  };
  /** Acts in the midst of a snapshot: its follower is stopped, once the machine is still or before that. */
  const during = (isStill: boolean, act: (child: Running, follower: number) => Promise<void>): Promise<void> =>
    caught("a follower that was stopped in time", async () => {
      await using child = root.start("snapshot", "m", "missed");
      const isOver = (): boolean => child.child.exitCode !== null;
      const follower = await poll("the follower", () => followerPid() ?? (isOver() ? null : undefined));
      if (follower !== null && (await stopIfThere(follower))) {
        if (isStill) {
          await using _slow = await slowed(follower);
          signalIfThere(follower, "SIGCONT");
          await poll("its stop", () => frozen() === "1\n" || isOver() || undefined);
          signalIfThere(follower, "SIGSTOP");
        }
        if ((await stopIfThere(follower)) && frozen() === (isStill ? "1\n" : "0\n")) {
          await act(child, follower);
          return true;
        }
        signalIfThere(follower, "SIGCONT");
      }
      expect(await child.end).toMatchObject({ status: 0 });
      await done("remove", "m@missed");
      return false;
    });
  const isWhole = async (): Promise<void> => {
    const now = count(join(machines, "m"), "a");
    await poll("its writes", () => (count(join(machines, "m"), "a") > now ? true : undefined));
    await poll("nothing is left", () =>
      readdirSync(machines).some((name) => name.startsWith(".berth-making")) || followerPid() !== undefined
        ? undefined
        : true,
    );
    expect(frozen()).toBe("0\n");
    expect(readdirSync(join(root.path, "run/still"))).toEqual([]);
    expect(await names(store, "m")).toEqual([]);
  };

  for (const whom of ["the follower", "the client"] as const)
    await during(true, async (child, follower) => {
      if (whom === "the follower") process.kill(follower, "SIGKILL");
      else child.kill("SIGINT");
      const { status, stderr } = await child.end;
      expect([status, stderr]).toEqual(
        whom === "the client" ? [130, expect.anything()] : [1, expect.stringContaining("was killed by SIGKILL")],
      );
      await isWhole();
    });
  for (const isStill of [false, true])
    await during(isStill, async (child, follower) => {
      await killDaemon(root);
      expect((await child.end).stderr).toContain("berthd has gone");
      expect(frozen()).toBe(isStill ? "1\n" : "0\n");
      // It dies with the daemon, but for the first moment of it.
      signalIfThere(follower, "SIGCONT");
      await poll("the follower's end", () => (followerPid() === undefined ? true : undefined));
      expect((await root.berth("daemon", "start")).status).toBe(0);
      await isWhole();
    });
  // Its init is killed, and it boots again: what it writes then belongs to another moment.
  await during(true, async (child, follower) => {
    const { leader } = await root.recordWhen("m");
    process.kill(leader.pid, "SIGKILL");
    await root.recordWhen("m", (record) => record.leader.pid !== leader.pid);
    process.kill(follower, "SIGCONT");
    const { status, stderr } = await child.end;
    expect([status, stderr]).toEqual([1, expect.stringContaining("machine m was started while its files were copied")]);
    await isWhole();
  });
  await done("snapshot", "m", "one", "--json");
  expect(await names(store, "m")).toEqual(["one"]);
  await root.berth("daemon", "stop", "--machines");
}, 300_000);

test("a disk image has snapshots, and goes back; one that a machine may write to is not copied in the midst of it", async () => {
  await using store = await imageRoot("directory");
  const { root, machines, done, refused } = store;
  const disk = join(machines, "disk.raw");
  writeFileSync(disk, "one");
  await done("snapshot", "disk");
  writeFileSync(disk, "two");
  expect(await list(store, "disk")).toMatchObject([{ name: "snap0", driver: "raw", running: false }]);
  await done("rollback", "disk");
  expect(readFileSync(disk, "utf8")).toBe("one");
  await done("rollback", "disk", "--undo");
  expect(readFileSync(disk, "utf8")).toBe("two");
  // As a machine that runs from it holds it.
  const lock = treeLock(TREES_IN_USE, disk);
  const fd = lockFile(lock);
  if (fd === null) throw new Error("it is held");
  expect(await refused("snapshot", "disk")).toContain("may change it");
  unlinkLocked(lock, fd);
  expect(await names(store, "disk")).toEqual(["snap0", "before-rollback-2"]);
  await done("remove", "--snapshots", "disk");
  expect(root.path).not.toBe("");
});

test("a rollback to an image of another kind: whoever is killed, one of the two is there, and in the end one alone", async (ctx) => {
  needsHere(ctx, "tool:strace");
  await using store = await imageRoot("directory");
  const { root, machines, done } = store;
  const [tree, disk] = [join(machines, "web"), join(machines, "web.raw")];
  mkdirSync(join(tree, "etc"), { recursive: true });
  await done("snapshot", "web");
  for (let step = 1; ; step++) {
    rmSync(tree, { recursive: true, force: true });
    writeFileSync(disk, "disk");
    await using child = killedAt(root, "rename,renameat2", step, "rollback", "web");
    const { status } = await child.end;
    expect(existsSync(tree) || existsSync(disk), `${step}`).toBe(true);
    await done("clean");
    const isBack = existsSync(tree);
    expect([step, existsSync(disk)]).toEqual([step, !isBack]);
    expect(await names(store, "web")).toEqual(isBack ? ["snap0", "before-rollback"] : ["snap0"]);
    if (isBack) {
      await done("rollback", "web", "--undo");
      expect([readFileSync(disk, "utf8"), existsSync(tree)]).toEqual(["disk", false]);
      await done("rollback", "web", "--confirm");
    }
    if (status === 0) break;
    expect(step).toBeLessThan(30);
  }
  await done("remove", "--snapshots", "web");
  expect(readdirSync(machines)).toEqual([".berth-snapshots"]);
}, 200_000);

test("whoever is killed at any step of a snapshot: it is there whole, or not at all", async (ctx) => {
  needsHere(ctx, "tool:strace");
  await using store = await imageRoot("directory");
  const { root, machines, done } = store;
  mkdirSync(join(machines, "web/etc"), { recursive: true });
  writeFileSync(join(machines, "web/etc/state"), "one");
  root.settings("web", "[Exec]\nHostname=one");
  for (const calls of ["rename,renameat2", "mkdir", "fsync"])
    for (let step = 1; ; step++) {
      await using child = killedAt(root, calls, step, "snapshot", "web", "s");
      const { status } = await child.end;
      await done("clean");
      expect(readdirSync(machines).filter((name) => !name.startsWith(".berth-snapshots"))).toEqual(["web"]);
      const [kept] = await names(store, "web");
      if (kept !== undefined) {
        await done("clone", "web@s", "copy");
        expect(readFileSync(join(machines, "copy/etc/state"), "utf8")).toBe("one");
        expect(readFileSync(join(root.etc, "machines/copy.nspawn"), "utf8")).toContain("Hostname=one");
        await done("remove", "copy", "web@s");
      }
      if (status === 0) break;
      expect(step).toBeLessThan(40);
    }
}, 200_000);

test("a full disk: nothing is left, and the machine goes on", async () => {
  await using store = await imageRoot("directory");
  const { root, done, refused } = store;
  using disk = await mountFileSystem("tmpfs", join(root.path, "small"), async () => undefined);
  execFileSync("mount", ["-o", "remount,size=8m", disk.path]);
  execFileSync("mount", ["--bind", disk.path, root.machines]);
  try {
    const tree = await shellMachine(root, "m", ENDLESS);
    mkdirSync(join(tree, "bulk"));
    for (let index = 0; index < 400; index++) writeFileSync(join(tree, "bulk", `${index}`), "x".repeat(8000));
    await done("start", "m");
    const before = readdirSync(root.machines).sort();
    const full = async (): Promise<string> => {
      for (let index = 0; index < 3; index++) {
        const { status, stderr } = await root.berth("snapshot", "m");
        if (status !== 0) return stderr;
      }
      return "";
    };
    expect(await full()).toMatch(/^berth: cannot copy the tree .*ENOSPC: no space left on device\nhint: make room on /);
    expect(await done("exec", "m", "--", "echo", "on")).toBe("on\n");
    expect(readdirSync(root.machines).sort()).toEqual([...before, ".berth-snapshots"].sort());
    expect(await refused("rollback", "m")).toContain("machine m is running");
    const { leader } = await root.recordWhen("m");
    expect(await refused("rollback", "m", "--restart"), "checked before it is stopped").toContain("no space left");
    expect(root.record("m")?.leader).toEqual(leader);
    await done("poweroff", "m");
  } finally {
    await root.berth("daemon", "stop", "--machines");
    execFileSync("umount", [root.machines]);
  }
});

test("the order of snapshots is the one that they were made in, also where the clock was put back", async () => {
  await using store = await imageRoot("directory");
  const { machines, done } = store;
  mkdirSync(join(machines, "web/etc"), { recursive: true });
  const state = join(machines, "web/etc/state");
  for (const name of ["c", "b", "a"] as const) {
    writeFileSync(state, name);
    await done("snapshot", "web", name);
    const file = join(machines, ".berth-snapshots/web", name, "snapshot.json");
    const earlier =
      Number(/"time": (\d+)/.exec(readFileSync(file, "utf8"))?.[1]) - { a: 7200, b: 3600, c: 0 }[name] * 1000;
    writeFileSync(file, readFileSync(file, "utf8").replace(/"time": \d+/, `"time": ${earlier}`));
  }
  expect(await names(store, "web")).toEqual(["c", "b", "a"]);
  writeFileSync(state, "now");
  await done("rollback", "web");
  expect(readFileSync(state, "utf8")).toBe("a");
  expect(await names(store, "web")).toEqual(["c", "b", "a", "before-rollback"]);
  await done("remove", "--snapshots", "web");
});

test("names are checked, and links and mount points have no snapshots", async () => {
  await using store = await imageRoot("directory");
  const { root, machines, done, refused } = store;
  richTree(join(machines, "web"));
  for (const words of [["web", "../x"], ["web", ".x"], ["web", "a b"], ["../web"], ["web@snap0"]]) {
    const { status } = await root.berth("snapshot", ...words);
    expect([1, 2]).toContain(status);
  }
  execFileSync("ln", ["-s", "web", join(machines, "link")]);
  expect(await refused("snapshot", "link")).toMatch(/link to an image elsewhere\nhint: berth clone link NEW/);
  expect(await refused("snapshot", ".host")).toContain("the host itself");
  await done("snapshot", "web", "one");
  expect(await refused("snapshot", "web", "one")).toMatch(/has a snapshot one already\nhint: .*remove web@one/);
  expect(await refused("rollback", "web", "on")).toMatch(/no snapshot "on"\nhint: did you mean one\?/);
  writeFileSync(join(machines, ".berth-snapshots/web/one/snapshot.json"), "{");
  expect(await names(store, "web")).toEqual([]);
  await done("remove", "--snapshots", "web");
  expect(existsSync(join(machines, "web"))).toBe(false);
});
