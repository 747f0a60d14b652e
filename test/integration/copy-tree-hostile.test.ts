/** Copies of trees that somebody changes meanwhile, with bad intent or without. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { BerthError } from "../../src/errors.ts";
import { runInView } from "../../src/host/run-in-view.ts";
import type { View } from "../../src/host/view-image.ts";
import { CopyBound } from "../../src/image/copy-bound.ts";
import { copyTree } from "../../src/image/copy-tree.ts";
import { CopyPlaces, filesOfCp } from "../../src/image/copy-view.ts";
import { ImageStore } from "../../src/image/store.ts";
import { type BerthRoot, berthRoot } from "../lib/berth.ts";
import { type Mounted, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { testPaths } from "../lib/trees.ts";

needs("root", "tool:perl");
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

describe("a tree whose directories are swapped for links while it is copied", () => {
  for (const [pieces, files, mode] of [
    ["in parts", 64, 0o755],
    ["in parts, with a directory that its owner may not write to", 64, 0o555],
    ["in one piece", 32, 0o755],
  ] as const)
    test(`${pieces}: nothing of the host is in the copy, and nothing is written outside of it`, async () => {
      await using root = berthRoot();
      const canary = root.directory("canary", 0o777);
      mkdirSync(join(canary, "in"));
      for (let index = 0; index < files; index++)
        for (const directory of [canary, join(canary, "in")]) writeFileSync(join(directory, `${index}`), HOSTS);
      const { from, pairs } = trap(root, canary, files);
      mkdirSync(join(from, "closed"), { mode });
      const work = root.directory("work");
      const before = stateOf(canary);
      // A directory may be met at both of its places.
      const all = files * 3 * SWAPPED;
      await using swapper = exchanging(pairs);
      let [through, astray] = [0, 0];
      // Until it has gone through links, which lead to the tree only.
      for (let round = 0; round < 200 && (through < 3 || astray === 0); round++) {
        const to = join(work, "to");
        try {
          await copyTree(from, to, signal);
          through++;
        } catch (error) {
          if (!(error instanceof BerthError)) throw error;
          expect(error.message).toMatch(/^cannot copy the tree .*: cp /);
        }
        const found = texts(to);
        expect([...found.keys()].filter((text) => text !== OURS && text !== INSIDE)).toEqual([]);
        expect(found.get(OURS) ?? 0).toBeLessThanOrEqual(all);
        if ((found.get(INSIDE) ?? 0) > files) astray++;
        expect(readdirSync(work)).toEqual(["to"]);
        rmSync(to, { recursive: true });
      }
      expect(stateOf(canary)).toBe(before);
      expect(swapper.child.exitCode).toBeNull();
      expect(through, "copies that came to an end").toBeGreaterThan(0);
      expect(astray, "copies in which a link was followed").toBeGreaterThan(0);
      expect(readdirSync(root.path).sort()).toEqual(expect.arrayContaining(["canary", "from", "work"]));
    });
});

test("what copies a part finds no way up from where the copy lies, and no other /proc than its own fds, if any", async () => {
  await using root = berthRoot();
  const places = new CopyPlaces(root.directory("from"), join(root.directory("work"), "to"));
  const files = await filesOfCp();
  const copy = async (named: boolean, ...names: readonly string[]): Promise<readonly string[]> => {
    const lines: string[] = [];
    const open = (stack: DisposableStack): View => places.open(files, { whole: false, named }, stack);
    const onLine = (line: string): void => void lines.push(line);
    const { ok } = await runInView({ program: files[0], argv: ["cp", "-rT", ...names] }, open, { signal, onLine });
    return ok ? readdirSync(join(root.path, "work/copy")).sort() : lines;
  };
  expect(await copy(false, "..", "up")).toEqual([expect.stringMatching(/cannot copy a directory, '..', into itself/)]);
  expect(await copy(false, "/proc", "copy")).toEqual([expect.stringMatching(/cannot stat '\/proc'/)]);
  expect(await copy(true, "/proc/self/fd/..", "copy")).toEqual([expect.stringMatching(/cannot stat|fd/)]);
  expect(await copy(false, "/to", "/to/new")).toEqual([expect.stringMatching(/Read-only file system/)]);
});

describe("a tree that is changed while it is copied", () => {
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

  test("since a file grows as quickly as it is copied: ends long before the disk is full, and says why", async (ctx) => {
    needsHere(ctx, ...toolsOf("ext4"));
    await using root = berthRoot();
    using disk = await ownDisk(root);
    const from = join(disk.path, "from");
    mkdirSync(from);
    fill(join(from, "log"), 48);
    const to = join(disk.path, "to");
    const grow = `until (-s "$ARGV[1]/log") {} truncate("$ARGV[0]/log", 2 ** 40) or die "$!"`;
    const grower = spawn("perl", ["-e", grow, from, to], { stdio: "ignore" });
    const grown = new Promise<number | null>((resolve) => grower.once("exit", resolve));
    try {
      await expect(copyTree(from, to, signal)).rejects.toMatchObject({
        message: expect.stringMatching(
          /^cannot copy the tree .*: the copy became much larger, \d+ MB where it has 50 MB$/,
        ),
        hint: expect.stringContaining("stop it before"),
      });
    } finally {
      grower.kill();
      expect(await grown).toBe(0);
    }
    expect(statfsSync(disk.path).bavail * statfsSync(disk.path).bsize).toBeGreaterThan(200e6);
    expect(descendants("cp")).toEqual([]);
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

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

test("a stage that is killed before it was handed its view is said to have been", async () => {
  const running = runInView(
    { program: "/bin/true", argv: ["true"] },
    (stack) => {
      // It is spawned by a thread, beside this one.
      for (let tries = 0; tries < 500 && descendants("berth-stage").length === 0; tries++)
        execFileSync("sleep", ["0.01"]);
      descendants("berth-stage").forEach(kill);
      execFileSync("sleep", ["0.1"]);
      return { root: stack.adopt(openSync("/", "r"), closeSync), mounts: [], directory: "/" };
    },
    { signal },
  );
  await expect(running).rejects.toMatchObject({ message: "the keeper of a confined program was killed" });
});

describe("a program that is killed while it copies", () => {
  for (const program of ["cp", "berth-view"])
    test(`${program}: the clone has failed, which is said, and nothing is left`, async () => {
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
          if (descendants("cp").length > 0) descendants(program).forEach(kill);
          await sleep(2);
        }
        failure = await cloned;
        if (failure !== undefined) expect(readdirSync(paths.machines)).not.toContain(`copy-${round}`);
      }
      expect(failure).toBeInstanceOf(BerthError);
      expect(failure).toMatchObject({
        message: expect.stringMatching(/^cannot copy the tree .*base: .* was killed/),
      });
      expect(readdirSync(paths.machines).filter((name) => name.startsWith("."))).toEqual([]);
      expect(descendants("cp")).toEqual([]);
    });
});
