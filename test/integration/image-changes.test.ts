/** What changes the store: an image is there whole or not at all, and is never taken from under a machine. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { lockImage } from "../../src/image/locks.ts";
import { ImageStore } from "../../src/image/store.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:python3", "tool:getcap", "tool:lsattr", "tool:mmdebstrap");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

function storeOf(root: BerthRoot): { store: ImageStore; paths: Paths } {
  const paths = findPaths({ ...root.env }, "/nonexistent", undefined);
  return { store: new ImageStore(paths), paths };
}

const signal = new AbortController().signal;

/** What clones share with what they are made of is the business of image-drivers.test.ts. */
const PLAIN = "--driver=directory";
const COPIED = { readOnly: false, driver: "directory" } as const;

async function done(root: BerthRoot, ...words: readonly string[]): Promise<void> {
  expect(await root.berth(...words)).toMatchObject({ status: 0, stderr: "" });
}

async function refused(root: BerthRoot, ...words: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth(...words);
  expect([status, stdout]).toEqual([1, ""]);
  return stderr;
}

describe("clone", () => {
  test("a clone is the same in everything a file can have, and lies in a store that only root gets into", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    await done(root, "clone", "web", "copy", PLAIN);
    expect(manifest(join(root.machines, "copy"))).toEqual(manifest(tree));
    expect(lstatSync(root.machines).mode & 0o777).toBe(0o700);
    expect(readdirSync(root.machines).sort()).toEqual(["copy", "web"]);
  });

  test("settings and drop-ins come along, and what the new name has already stays", async () => {
    await using root = berthRoot();
    const { paths } = storeOf(root);
    const etc = join(root.etc, "machines");
    const tree = await probeTree({ at: join(root.machines, "web") });
    root.settings("web", "[Exec]\nHostname=one");
    mkdirSync(join(etc, "web.nspawn.d"));
    writeFileSync(join(etc, "web.nspawn.d/10-more.conf"), "[Exec]\nUser=1\n");
    writeFileSync(`${tree}.nspawn`, "[Exec]\nBoot=no\n");
    root.settings("own", "[Exec]\nHostname=own");
    await done(root, "clone", "web", "copy");
    await done(root, "clone", "web", "own");
    expect(readFileSync(join(etc, "copy.nspawn"), "utf8")).toContain("one");
    expect(readFileSync(join(etc, "copy.nspawn.d/10-more.conf"), "utf8")).toContain("User=1");
    expect(existsSync(join(paths.machines, "copy.nspawn"))).toBe(true);
    expect(readFileSync(join(etc, "own.nspawn"), "utf8")).toContain("own");
    expect(readdirSync(etc).filter((name) => name.startsWith("."))).toEqual([]);

    await done(root, "remove", "copy");
    expect(readdirSync(etc).filter((name) => name.startsWith("copy"))).toEqual([]);
    expect(existsSync(join(paths.machines, "copy.nspawn"))).toBe(false);
    expect(existsSync(join(etc, "web.nspawn.d/10-more.conf"))).toBe(true);
  });

  test("a machine may run from it, and what it is doing does not end", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "web"), init: true });
    await using machine = root.start("run", "-q", "-M", "web", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    const { status, stderr } = await root.berth("clone", "web", "copy");
    expect([status, stderr.replace(/^berth: copy has a copy of all files .* a machine runs from it\n$/, "")]).toEqual([
      0,
      "",
    ]);
    machine.kill();
    expect((await machine.end).status).toBe(0);
    expect((await root.run(join(root.machines, "copy"), [], probe("ids"))).status).toBe(0);
  });

  test("files that come and go meanwhile do no harm", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    mkdirSync(join(tree, "busy"));
    const churn =
      // Long names too.
      'cd "$1"; long=$(printf %0240d 1); while :; do ' +
      "for i in 1 2 3 4 5 6 7 8 9; do echo x > $i; ln -sf x l$i; mkdir -p d$i/e; echo x > $long$i; done; rm -rf *; done";
    await using busy = root.spawn(["sh", "-c", churn, "sh", join(tree, "busy")]);
    for (let index = 0; index < 15; index++) await done(root, "clone", "web", `copy${index}`, PLAIN);
    busy.kill("SIGKILL");
    expect(existsSync(join(root.machines, "copy14/etc/os-release"))).toBe(true);
  });

  test("no directory that becomes a link meanwhile has anything of the host copied", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    const host = join(root.path, "host");
    mkdirSync(host);
    for (let index = 0; index < 200; index++) writeFileSync(join(host, `f${index}`), "secret\n");
    for (let index = 0; index < 4; index++) {
      mkdirSync(join(tree, `d${index}`));
      for (let file = 0; file < 200; file++) writeFileSync(join(tree, `d${index}`, `f${file}`), "own\n");
      symlinkSync(index % 2 === 0 ? host : "../../host", join(tree, `l${index}`));
    }
    const swap =
      `my $renameat2 = ${process.arch === "arm64" ? 276 : 316}; chdir $ARGV[0];` +
      'while (1) { for my $i (0..3) { my ($a, $b) = ("d$i", "l$i"); syscall($renameat2, -100, $a, -100, $b, 2) } }';
    await using busy = root.spawn(["perl", "-e", swap, tree]);
    for (let index = 0; index < 10; index++) {
      const copy = join(root.machines, `copy${index}`);
      await done(root, "clone", "web", `copy${index}`, PLAIN);
      expect(spawnSync("grep", ["-rl", "secret", copy], { encoding: "utf8" }).stdout).toBe("");
    }
    busy.kill("SIGKILL");
  });

  test("^C leaves nothing; after kill -9 the next one sweeps, and nobody ever sees half an image", async () => {
    await using root = berthRoot();
    execFileSync("cp", ["-a", await debianTree("bookworm"), join(root.machines, "web")]);
    const seen = () => readdirSync(root.machines).filter((name) => !name.startsWith(".berth-making-"));
    for (const kill of ["SIGINT", "SIGKILL"] as const) {
      await using child = root.start("clone", "web", "copy", PLAIN);
      await poll("the copy's beginning", () => {
        const workspace = readdirSync(root.machines).find((name) => name.startsWith(".berth-making-"));
        return workspace !== undefined && existsSync(join(root.machines, workspace, "image/usr")) ? true : undefined;
      });
      expect(seen()).toEqual(["web"]);
      child.kill(kill);
      const { status, signal: by } = await child.end;
      expect([status, by]).toEqual(kill === "SIGINT" ? [130, null] : [null, "SIGKILL"]);
      expect(readdirSync(root.machines).length).toBe(kill === "SIGINT" ? 1 : 2);
    }
    expect((await root.berth("list-images")).stdout).not.toContain("copy");
    await poll("the end of cp", () => (spawnSync("pgrep", ["-f", root.machines]).status === 1 ? true : undefined));
    mkdirSync(join(root.path, "etc/machines/.berth-settings-old"));
    execFileSync("touch", ["-d", "2 minutes ago", join(root.path, "etc/machines/.berth-settings-old")]);
    await done(root, "clean");
    expect(readdirSync(root.machines)).toEqual(["web"]);
    expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
    expect(readdirSync(join(root.path, "etc/machines"))).toEqual([]);
  });

  test("a full disk is said, and nothing is left of the copy", async () => {
    await using root = berthRoot();
    using disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=2m", path]);
      richTree(join(path, "web"));
    });
    const { store } = storeOf(root);
    const paths = { ...store.paths, machines: disk.path };
    await expect(new ImageStore(paths).clone("web", "copy", { ...COPIED, signal })).rejects.toMatchObject({
      message: expect.stringContaining("cannot copy the tree"),
      hint: `make room on the file system of ${disk.path}`,
    });
    expect(readdirSync(disk.path)).toEqual(["web"]);
    expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
  });

  test("of eight to one name one wins, the others are told", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    const { store } = storeOf(root);
    const all = await Promise.allSettled(
      Array.from({ length: 8 }, () => store.clone("web", "copy", { ...COPIED, signal })),
    );
    expect(all.filter(({ status }) => status === "fulfilled").length).toBe(1);
    for (const each of all)
      if (each.status === "rejected")
        expect(String(each.reason)).toMatch(/image copy is being made|copy exists already/);
    expect(manifest(join(root.machines, "copy"))).toEqual(manifest(tree));
    expect(readdirSync(root.machines).sort()).toEqual(["copy", "web"]);
  });
});

describe("rename", () => {
  test("takes settings and range of ids along", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "old") });
    root.settings("old", "[Exec]\nHostname=one");
    expect((await root.run(tree, [], probe("ids"))).status).toBe(0);
    const ranges = () => JSON.parse(readFileSync(join(root.machines, ".berth-ranges.json"), "utf8")).ranges;
    const before = ranges();
    await done(root, "rename", "old", "new");
    expect(ranges()).toEqual({ new: before.old });
    expect(readdirSync(join(root.etc, "machines"))).toEqual(["new.nspawn"]);
    expect((await root.berth("list-images")).stdout).toMatch(/^new /m);
    expect(existsSync(tree)).toBe(false);
    await done(root, "remove", "new");
    expect(existsSync(join(root.machines, ".berth-ranges.json"))).toBe(false);
  });

  test("never over another, and never to what is no name", async () => {
    await using root = berthRoot();
    for (const name of ["a", "b"]) await probeTree({ at: join(root.machines, name) });
    expect(await refused(root, "rename", "a", "b")).toContain("b exists already");
    writeFileSync(join(root.machines, "c.raw"), "");
    expect(await refused(root, "clone", "a", "c")).toContain("c.raw exists already");
    for (const name of ["../x", ".hidden", "a/b", ".host", ""]) {
      expect((await root.berth("rename", "a", name)).status).toBe(2);
      expect((await root.berth("clone", "a", name)).status).toBe(2);
    }
    expect(await refused(root, "rename", ".host", "x")).toContain("the host itself");
    expect(readdirSync(root.machines).sort()).toEqual(["a", "b", "c.raw"]);
  });
});

describe("read-only", () => {
  test("is machined's mark, which renaming keeps and nothing stops a removal", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "web") });
    const marked = (path: string) => /^\S*i/.test(execFileSync("lsattr", ["-d", path], { encoding: "utf8" }));
    await done(root, "read-only", "web");
    expect(marked(tree)).toBe(true);
    expect(() => writeFileSync(join(tree, "new"), "")).toThrow("EPERM");
    expect((await root.berth("list-images")).stdout).toMatch(/^web +directory +yes /m);
    await done(root, "rename", "web", "web2");
    expect(marked(join(root.machines, "web2"))).toBe(true);
    await done(root, "clone", "web2", "web3", PLAIN);
    expect(marked(join(root.machines, "web3"))).toBe(false);
    await done(root, "clone", "web2", "web4", PLAIN, "--read-only");
    expect(marked(join(root.machines, "web4"))).toBe(true);
    await done(root, "read-only", "web2", "no");
    expect(marked(join(root.machines, "web2"))).toBe(false);
    await done(root, "remove", "web2", "web3", "web4");
    expect(readdirSync(root.machines)).toEqual([]);
    expect((await root.berth("read-only", "web", "maybe")).status).toBe(2);
  });
});

test("the machine of a marked image changes nothing in it, a throw-away copy of it what it likes", async () => {
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "web") });
  await done(root, "read-only", "web");
  const run = (...options: string[]) =>
    root.berth("run", "-q", ...options, "--pipe", "--", ...probe("write", "/etc/new", "x"));
  expect((await run("-M", "web")).stdout).toContain("EROFS");
  expect((await run("-M", "web", "-x")).stdout).not.toContain("EROFS");
  expect((await root.berth("plan", "-M", "web", "--", "/probe")).stdout).toContain("the image is marked read-only");
  await done(root, "read-only", "web", "no");
  expect((await run("-M", "web")).stdout).not.toContain("EROFS");
  expect(existsSync(join(root.machines, "web/etc/new"))).toBe(true);
});

describe("an image in use", () => {
  test.each([
    ["its own", ["-M", "web"]],
    ["one with another name", ["-M", "other", "-D", "TREE"]],
    ["a throw-away copy", ["-M", "other", "-D", "TREE", "-x"]],
  ])("by a machine, %s, is not removed, renamed or marked", async (_, words) => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "web"), init: true });
    const options = words.map((word) => (word === "TREE" ? tree : word));
    await using machine = root.start("run", "-q", ...options, "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    const name = words[1] ?? "";
    for (const verb of [
      ["remove", "web"],
      ["rename", "web", "x"],
      ["read-only", "web"],
    ])
      expect(await refused(root, ...verb)).toBe(
        `berth: image web is in use: machine ${name} runs from it\nhint: berth poweroff ${name} stops it\n`,
      );
    expect(await root.berth("clean", "--all")).toMatchObject({
      status: 0,
      stdout: "",
      stderr: `berth: image web is in use: machine ${name} runs from it, so it is kept\n`,
    });
    machine.kill();
    expect((await machine.end).status).toBe(0);
    await done(root, "remove", "web");
  });

  test("by another berth root or systemd-nspawn is known by its lock", async () => {
    await using root = berthRoot();
    await using other = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "web"), init: true });
    await using machine = other.start("run", "-q", "-D", tree, "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    expect(await refused(root, "remove", "web")).toContain("in use: a container of systemd-nspawn's, or of another");
    machine.kill();
    await machine.end;
  });

  test("by another operation is busy, and who comes second reads with what", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "web") });
    const { store, paths } = storeOf(root);
    {
      using _ = lockImage(paths, "web", "copied");
      expect(await refused(root, "remove", "web")).toBe(
        "berth: image web is being copied\nhint: try again when that has ended\n",
      );
      await store.clone("web", "second", { readOnly: false, signal });
    }
    {
      using _ = lockImage(paths, "web", "removed");
      await expect(store.clone("web", "third", { readOnly: false, signal })).rejects.toMatchObject({
        kind: "Busy",
        message: "image web is being removed",
      });
    }
    expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
  });
});

test("remove takes a link and not what it leads to, files nobody can name, and says which image is missing", async () => {
  await using root = berthRoot();
  const tree = richTree(join(root.path, "elsewhere"));
  symlinkSync(tree, join(root.machines, "link"));
  richTree(join(root.machines, "web"));
  expect(await refused(root, "remove", "wen", "web", "link")).toContain('no image "wen"');
  expect(readdirSync(root.machines)).toEqual([]);
  expect(statSync(join(tree, "etc/os-release")).isFile()).toBe(true);
});

test("a removal that is killed has taken the image all the same, and the next one sweeps", async () => {
  await using root = berthRoot();
  execFileSync("cp", ["-a", await debianTree("bookworm"), join(root.machines, "web")]);
  await using child = root.start("remove", "web");
  await poll("its end in the store", () => (existsSync(join(root.machines, "web")) ? undefined : true));
  child.kill("SIGKILL");
  await child.end;
  expect((await root.berth("list-images", "--json")).stdout).toBe("[]\n");
  await done(root, "clean");
  expect(readdirSync(root.machines)).toEqual([]);
  expect((await root.berth("list-images")).stderr).toBe("no images\n");
});

test("killed at any moment, an image is as it was or as it will be, and one sweep later nothing else is left", async () => {
  await using root = berthRoot();
  const tree = richTree(join(root.machines, "web"));
  root.settings("web", "[Exec]\nHostname=one");
  const archive = join(root.path, "web.tar");
  await done(root, "export-tar", "web", archive);
  const whole = manifest(tree);
  const verbs: readonly (readonly [ms: number, ...words: string[]])[] = [
    [250, "clone", "web", "copy", PLAIN],
    [350, "import-tar", archive, "copy", "--force"],
    [250, "import-fs", tree, "copy", "--force"],
    [150, "rename", "copy", "other"],
    [250, "remove", "copy"],
  ];
  for (let round = 0; round < 20; round++) {
    const [most, ...words] = verbs[round % verbs.length] ?? [0];
    await using child = root.start(...words);
    const timer = setTimeout(() => child.kill("SIGKILL"), Math.random() * most);
    await child.end;
    clearTimeout(timer);
    for (const name of seenIn(root))
      expect(manifest(join(root.machines, name)), `${words.join(" ")}: ${name}`).toEqual(whole);
    expect(seenIn(root)).toContain("web");
  }
  await poll("the end of what was started", () =>
    spawnSync("pgrep", ["-f", root.machines]).status === 1 ? true : undefined,
  );
  await done(root, "clean");
  expect(readdirSync(root.machines)).toEqual(seenIn(root));
  expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
});

/** Names without those of unfinished work. */
function seenIn(root: BerthRoot): string[] {
  return readdirSync(root.machines).filter((name) => !name.startsWith(".berth-"));
}

test("what a killed bootstrap has left in the cache goes by clean, and when berthd starts", async () => {
  await using root = berthRoot();
  const env = { BERTH_CACHE: join(root.path, "cache") };
  const trees = join(root.path, "cache/trees");
  const left = join(trees, ".berth-making-web");
  mkdirSync(join(left, "entry/tree"), { recursive: true });
  const { status, stdout } = await root.spawn([BERTH, "clean"], { env }).end;
  expect([status, stdout]).toEqual([0, "removed .berth-making-web\n"]);
  expect(readdirSync(trees)).toEqual([]);
  mkdirSync(join(left, "entry/tree"), { recursive: true });
  expect((await root.spawn([BERTH, "daemon", "start"], { env }).end).status).toBe(0);
  await poll("the sweep", () => (existsSync(left) ? undefined : true)).finally(() => root.berth("daemon", "stop"));
});

test("clean removes hidden images and tells what they used, and with --all every one", async () => {
  await using root = berthRoot();
  for (const name of [".tar-old", "web"]) richTree(join(root.machines, name));
  const { status, stdout } = await root.berth("clean", "--json");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toEqual([{ name: ".tar-old", usage: expect.any(Number) }]);
  expect(readdirSync(root.machines)).toEqual(["web"]);
  expect((await root.berth("clean", "--all")).stdout).toMatch(/^removed web, 1\.\dM\n$/);
  mkdirSync(join(root.machines, ".berth-making-cc-60e3c927a3ed/image"), { recursive: true });
  expect(await root.berth("clean")).toMatchObject({ stdout: "removed .berth-making-cc-60e3c927a3ed\n", stderr: "" });
  expect(readdirSync(root.machines)).toEqual([]);
});

test("set-limit says what can't be limited, and what is no size", async () => {
  await using root = berthRoot();
  await probeTree({ at: join(root.machines, "web") });
  expect(await refused(root, "set-limit", "web", "1G")).toContain(
    "can't have a limit of its own: it is a plain directory",
  );
  expect(await refused(root, "set-limit", "1G")).toContain("the store");
  expect((await root.berth("set-limit", "web", "much")).status).toBe(2);
});

test("a disk image is cloned, renamed, marked and removed as well", async () => {
  await using root = berthRoot();
  const path = join(root.machines, "disk.raw");
  writeFileSync(path, Buffer.alloc(4096, 7), { mode: 0o644 });
  await done(root, "read-only", "disk");
  await done(root, "clone", "disk", "copy");
  await done(root, "rename", "disk", "old");
  expect(statSync(join(root.machines, "old.raw")).mode & 0o777).toBe(0o444);
  expect(statSync(join(root.machines, "copy.raw")).mode & 0o777).toBe(0o644);
  await done(root, "remove", "old", "copy");
  expect(readdirSync(root.machines)).toEqual([]);
});
