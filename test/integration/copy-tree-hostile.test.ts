/** Copies of trees that somebody changes meanwhile, with bad intent or without. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { BerthError } from "../../src/errors.ts";
import { treeCopierPath } from "../../src/host/installation.ts";
import { runInView } from "../../src/host/run-in-view.ts";
import { CopyBound } from "../../src/image/copy-bound.ts";
import { copyTree } from "../../src/image/copy-tree.ts";
import { ImageStore } from "../../src/image/store.ts";
import { ARCH } from "../../src/sys/libc.ts";
import { type BerthRoot, berthRoot, caught, signalIfThere } from "../lib/berth.ts";
import { type Mounted, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { leaseOn } from "../lib/lease.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { testPaths } from "../lib/trees.ts";

needs("root", "tool:perl", "tool:python3");
checkLeaks();

const { signal } = new AbortController();

/** All that is in a directory: type, mode, owner, size, times, target, and contents. */
function stateOf(directory: string): string {
  const format = "%P %y %m %U:%G %s %T@ %C@ %l\\n";
  const entries = execFileSync("find", [directory, "-printf", format], { encoding: "utf8" });
  return entries + execFileSync("grep", ["-r", "", directory], { encoding: "utf8" });
}

interface Pair {
  readonly directory: string;
  readonly link: string;
}

/** Exchanges a directory and a link, each of them in turn, all the while: renameat2(2) with RENAME_EXCHANGE. */
function exchanging(pairs: readonly Pair[]): AsyncDisposable & { readonly child: ChildProcess } {
  const swap = `my $call = ${process.arch === "arm64" ? 276 : 316};
    while (1) { for (my $i = 0; $i < @ARGV; $i += 2) {
      my ($a, $b) = ($ARGV[$i], $ARGV[$i + 1]); syscall($call, -100, $a, -100, $b, 2) == 0 or die "$!" }
      select(undef, undef, undef, 0.0002) }`;
  const words = pairs.flatMap(({ directory, link }) => [directory, link]);
  const child = spawn("perl", ["-e", swap, ...words], { stdio: "ignore" });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    child,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

const OURS = "of the tree";
const INSIDE = "of another directory of the tree";
const HOSTS = "of the host";
/** Swapped ones; as many again are left alone. */
const SWAPPED = 8;

interface Trap {
  readonly from: string;
  readonly pairs: readonly Pair[];
}

/** `files`: in each directory. */
function trap(root: BerthRoot, canary: string, files: number): Trap {
  const from = root.directory("from");
  const fill = (directory: string, text: string): void => {
    mkdirSync(join(directory, "in"), { recursive: true });
    for (let index = 0; index < files; index++) writeFileSync(join(directory, `in/${index}`), text);
  };
  fill(join(from, "inside"), INSIDE);
  mkdirSync(join(from, "aside"));
  const up = "../".repeat(12);
  const targets = [
    ...[canary, `${up}${canary.slice(1)}`, `/proc/self/root${canary}`, `/.berth-from/../..${canary}`],
    ...["../inside", "/to/inside", `/proc/self/fd/3/${up}${canary.slice(1)}`, "/usr/share"],
  ];
  const pairs = Array.from({ length: SWAPPED }, (_, index) => {
    const directory = join(from, `top/${index}`);
    fill(directory, OURS);
    fill(join(from, `top/left-${index}`), OURS);
    const link = join(from, `aside/${index}`);
    symlinkSync(targets[index % targets.length] ?? "", link);
    return { directory: index % 3 === 0 ? join(directory, "in") : directory, link };
  });
  return { from, pairs };
}

/** How often each text is in the files of a copy. */
function texts(copy: string): ReadonlyMap<string, number> {
  const words = ["-r", "--no-messages", "--no-filename", "--binary-files=text", "", copy];
  const counts = new Map<string, number>();
  // Of a copy that has failed there may be nothing.
  const { stdout } = spawnSync("grep", words, { encoding: "utf8", maxBuffer: 2 ** 27 });
  for (const line of stdout.split("\n").filter(Boolean)) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}

test("a tree whose directories are swapped for links while it is copied: no link is followed, and nothing is written outside", async () => {
  await using root = berthRoot();
  const files = 64;
  const canary = root.directory("canary", 0o777);
  mkdirSync(join(canary, "in"));
  for (let index = 0; index < files; index++)
    for (const directory of [canary, join(canary, "in")]) writeFileSync(join(directory, `${index}`), HOSTS);
  const { from, pairs } = trap(root, canary, files);
  const work = root.directory("work");
  const before = stateOf(canary);
  const there = readdirSync(root.path).sort();
  // A directory may be met at both of its places.
  const all = files * 3 * SWAPPED;
  await using swapper = exchanging(pairs);
  let caught = 0;
  for (let round = 0; round < 30; round++) {
    const to = join(work, "to");
    await copyTree(from, to, signal);
    const found = texts(to);
    expect([...found.keys()].filter((text) => text !== OURS && text !== INSIDE)).toEqual([]);
    expect(found.get(OURS) ?? 0).toBeLessThanOrEqual(all);
    expect(found.get(INSIDE)).toBe(files);
    if (lstatSync(join(to, "aside/1"), { throwIfNoEntry: false })?.isSymbolicLink() !== true) caught++;
    expect(readdirSync(work)).toEqual(["to"]);
    rmSync(to, { recursive: true });
  }
  expect(stateOf(canary)).toBe(before);
  expect(swapper.child.exitCode).toBeNull();
  expect(caught, "copies to which a directory came at the place of a link").toBeGreaterThan(0);
  expect(readdirSync(root.path).sort()).toEqual(there);
});

test("a file that somebody has a lease on is waited for, and what is a FIFO or a socket is one", async () => {
  await using root = berthRoot();
  const from = root.directory("from");
  writeFileSync(join(from, "leased"), OURS);
  execFileSync("python3", [
    "-c",
    "import os, socket, sys; os.chdir(sys.argv[1]); os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('socket')",
    from,
  ]);
  await using _lease = await leaseOn(join(from, "leased"), { givenUp: true });
  const to = join(root.path, "to");
  await copyTree(from, to, signal);
  expect(readFileSync(join(to, "leased"), "utf8")).toBe(OURS);
  expect([lstatSync(join(to, "fifo")).isFIFO(), lstatSync(join(to, "socket")).isSocket()]).toEqual([true, true]);
});

test("who is told to stop ends, also while a lease is waited for, and leaves no program", async () => {
  await using root = berthRoot();
  const from = root.directory("from");
  writeFileSync(join(from, "leased"), OURS);
  await using _lease = await leaseOn(join(from, "leased"));
  const stop = new AbortController();
  const copied = copyTree(from, join(root.path, "to"), stop.signal).catch((error: unknown) => error);
  await expect.poll(() => descendants("berth-copy")).toHaveLength(1);
  stop.abort(new Error("enough"));
  expect(await copied).toMatchObject({ message: "enough" });
  expect(descendants("berth-copy")).toEqual([]);
});

/** As of a tree that can't be a mount of its own, so that a device in it could be opened. */
function copyOfElsewhere(from: string, to: string): void {
  mkdirSync(to);
  const source = openSync(from, "r");
  const { status, stdout } = spawnSync(treeCopierPath(ARCH), ["2", "nd"], {
    cwd: to,
    stdio: [source, "pipe", "inherit"],
  });
  closeSync(source);
  expect([status, stdout.toString()]).toEqual([0, ""]);
}

describe("a tree that is changed while it is copied", () => {
  test("is copied all the same: FIFOs that become files with attributes, which a FIFO can't have", async () => {
    await using root = berthRoot();
    const from = root.directory("from");
    const make = `
import os, sys
os.chdir(sys.argv[1])
for i in range(300):
    os.mkfifo(f"fifo-{i}")
    open(f"file-{i}", "w").close(); os.setxattr(f"file-{i}", "user.berth", b"x")
`;
    execFileSync("python3", ["-c", make, from]);
    const pairs = Array.from({ length: 300 }, (_, index) => {
      return { directory: join(from, `fifo-${index}`), link: join(from, `file-${index}`) };
    });
    await using swapper = exchanging(pairs);
    const names = readdirSync(from).sort();
    const to = join(root.path, "to");
    for (let round = 0; round < 20; round++) {
      if (round % 2 === 0) await copyTree(from, to, signal);
      else copyOfElsewhere(from, to);
      expect(readdirSync(to).sort()).toEqual(names);
      rmSync(to, { recursive: true });
    }
    expect(swapper.child.exitCode).toBeNull();
  });

  /** Files come and go, also under other names; directories move to others, and back. */
  const CHANGE = `
    my $n = 0;
    chdir $ARGV[0] or die;
    while (1) {
      $n++;
      my ($a, $b) = ($n % 12, ($n + 5) % 12);
      rename "$a/in", "$b/moved" or 1;
      rename "$b/moved", "$a/in" or 1;
      unlink "$a/new"; open(my $f, ">", "$a/new") or 1; print $f "new" x ($n % 3000) if $f; close $f if $f;
      rename "$a/new", "$b/renamed" or 1;
      link "$b/renamed", "$a/linked" or unlink "$a/linked";
      mkdir "$b/directory" or rmdir "$b/directory";
      select(undef, undef, undef, 0.0002);
    }`;

  test("is copied all the same: what nobody touches is whole", async () => {
    await using root = berthRoot();
    const from = root.directory("from");
    for (let index = 0; index < 12; index++) {
      mkdirSync(join(from, `${index}/in`), { recursive: true });
      mkdirSync(join(from, `${index}/still`));
      for (let file = 0; file < 50; file++)
        for (const directory of ["in", "still"]) writeFileSync(join(from, `${index}/${directory}/${file}`), OURS);
    }
    const changer = spawn("perl", ["-e", CHANGE, from], { stdio: "ignore" });
    const gone = new Promise<void>((resolve) => changer.once("exit", () => resolve()));
    try {
      for (let round = 0; round < 4; round++) {
        const to = join(root.path, "to");
        await copyTree(from, to, signal);
        for (let index = 0; index < 12; index++) expect(readdirSync(join(to, `${index}/still`)).length).toBe(50);
        rmSync(to, { recursive: true });
      }
      expect(changer.exitCode).toBeNull();
    } finally {
      changer.kill("SIGKILL");
      await gone;
    }
  });
});

describe("a copy that becomes much larger than its tree", () => {
  const MEGABYTE = Buffer.alloc(1 << 20, "x");
  /** Of bytes that are there, since a file with holes is copied by what it has. */
  const fill = (path: string, megabytes: number): void => {
    for (let index = 0; index < megabytes; index++) appendFileSync(path, MEGABYTE);
  };
  /** Where nobody else writes. */
  const ownDisk = (root: BerthRoot): Promise<Mounted> =>
    mountFileSystem("ext4", join(root.path, "disk"), async () => undefined, 6000 * (1 << 20));

  /** Moves the directory that is full to where none has been copied from yet, whenever its copy has begun. */
  const MOVE = `my ($from, $to, $full) = @ARGV;
    my $call = ${process.arch === "arm64" ? 276 : 316};
    opendir(my $names, $from) or die;
    my @order = reverse grep { !/^\\./ } readdir $names;
    my ($at) = grep { $order[$_] eq $full } 0 .. $#order;
    while (1) {
      next unless -e "$to/$order[$at]";
      my $next = $at;
      do { $next += 40 } while $next < @order and -e "$to/$order[$next]";
      $next < @order or sleep 1000;
      syscall($call, -100, "$from/$order[$at]", -100, "$from/$order[$next]", 2) == 0 or die "$!";
      $at = $next;
    }`;

  test("since a directory is moved about: ends long before the disk is full, and says why", async (ctx) => {
    needsHere(ctx, ...toolsOf("ext4"));
    await using root = berthRoot();
    using disk = await ownDisk(root);
    const [from, to] = [join(disk.path, "from"), join(disk.path, "to")];
    await caught("a copy that became much larger", async () => {
      for (const path of [from, to]) rmSync(path, { recursive: true, force: true });
      for (let index = 0; index < 5000; index++) mkdirSync(join(from, `${index}/in`), { recursive: true });
      // As they lie on the disk, which is by chance: one that so many are copied after that it can be moved often enough.
      const full = execFileSync("ls", ["-U", from], { encoding: "utf8" }).trim().split("\n").at(-500) ?? "";
      for (let index = 0; index < 12; index++) fill(join(from, `${full}/${index}`), 16);
      const mover = spawn("perl", ["-e", MOVE, from, to, full], { stdio: "ignore" });
      const moved = new Promise<void>((resolve) => mover.once("exit", () => resolve()));
      try {
        const error = await copyTree(from, to, signal).catch((error: unknown) => error);
        expect(mover.exitCode).toBeNull();
        if (error === undefined) return false;
        expect(error).toMatchObject({
          message: expect.stringMatching(
            /^cannot copy the tree .*: the copy became much larger, \d+ MB where it has \d+ MB$/,
          ),
          hint: expect.stringContaining("stop it before"),
        });
        return true;
      } finally {
        mover.kill("SIGKILL");
        await moved;
      }
    });
    expect(statfsSync(disk.path).bavail * statfsSync(disk.path).bsize).toBeGreaterThan(200e6);
    expect(descendants("berth-copy")).toEqual([]);
  });

  test("a file that grows as quickly as it is copied is copied as far as it was", async () => {
    await using root = berthRoot();
    const [from, to] = [root.directory("from"), join(root.path, "to")];
    fill(join(from, "log"), 48);
    const grow = `until (-s "$ARGV[1]/log") {} truncate("$ARGV[0]/log", 2 ** 40) or die "$!"`;
    const grower = spawn("perl", ["-e", grow, from, to], { stdio: "ignore" });
    const grown = new Promise<number | null>((resolve) => grower.once("exit", resolve));
    await copyTree(from, to, signal);
    expect(await grown).toBe(0);
    expect(statSync(join(to, "log")).size).toBe(48 << 20);
  });

  test("is told from what others write to the same disk", async (ctx) => {
    needsHere(ctx, ...toolsOf("ext4"));
    await using root = berthRoot();
    using disk = await ownDisk(root);
    const [from, to] = [join(disk.path, "from"), join(disk.path, "to")];
    for (const directory of [from, to]) mkdirSync(directory);
    fill(join(from, "file"), 4);
    await using bound = new CopyBound(from, to);
    const ended = new Promise((resolve) => bound.signal.addEventListener("abort", resolve, { once: true }));
    await sleep(100); // until it has looked how much is free
    fill(join(disk.path, "others"), 320);
    await sleep(700);
    expect(bound.signal.aborted).toBe(false);
    fill(join(to, "file"), 450);
    await ended;
  });
});

/** Of this process, at any depth. */
function descendants(name: string): readonly number[] {
  const parents = new Map<number, readonly [parent: number, name: string]>();
  for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
    try {
      const [, comm = "", parent = ""] = /^\d+ \((.*)\) . (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
      parents.set(pid, [Number(parent), comm]);
    } catch {
      // It has ended.
    }
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === process.pid || isOurs(parents.get(pid)?.[0]));
  return [...parents].filter(([pid, [, comm]]) => comm === name && isOurs(pid)).map(([pid]) => pid);
}

test("a stage that is killed before it was handed its view is said to have been", async () => {
  const running = runInView(
    { program: "/bin/true", argv: ["true"] },
    (stack) => {
      // It is spawned by a thread, beside this one.
      for (let tries = 0; tries < 500 && descendants("berth-stage").length === 0; tries++)
        execFileSync("sleep", ["0.01"]);
      for (const pid of descendants("berth-stage")) signalIfThere(pid, "SIGKILL");
      execFileSync("sleep", ["0.1"]);
      return { root: stack.adopt(openSync("/", "r"), closeSync), mounts: [], directory: "/" };
    },
    { signal },
  );
  await expect(running).rejects.toMatchObject({ message: "the keeper of a confined program was killed" });
});

test("a copier that is killed: the clone has failed, which is said, and nothing is left", async () => {
  await using root = berthRoot();
  const paths = testPaths(root.path);
  const base = join(paths.machines, "base");
  for (let index = 0; index < 12; index++) {
    mkdirSync(join(base, `etc/${index}`), { recursive: true });
    for (let file = 0; file < 100; file++) writeFileSync(join(base, `etc/${index}/${file}`), OURS);
  }
  writeFileSync(join(base, "etc/os-release"), "ID=test\n");
  const store = new ImageStore(paths);
  let failure: unknown;
  // Until one was caught at it.
  for (let round = 0; round < 50 && failure === undefined; round++) {
    let over = false;
    const clone = store.clone("base", `copy-${round}`, { readOnly: false, driver: "directory", signal }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const cloned = clone.finally(() => {
      over = true;
    });
    while (!over) {
      for (const pid of descendants("berth-copy")) signalIfThere(pid, "SIGKILL");
      await sleep(2);
    }
    failure = await cloned;
    if (failure !== undefined) expect(readdirSync(paths.machines)).not.toContain(`copy-${round}`);
  }
  expect(failure).toBeInstanceOf(BerthError);
  expect(failure).toMatchObject({
    message: expect.stringMatching(/^cannot copy the tree .*base: tree-copier was killed by SIGKILL$/),
  });
  expect(readdirSync(paths.machines).filter((name) => name.startsWith("."))).toEqual([]);
  expect(descendants("berth-copy")).toEqual([]);
});
