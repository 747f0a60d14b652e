/** What settings mount besides binds and overlays, and the order of it all, seen from inside. */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseMounts } from "../lib/mounts.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

let shared = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  shared = await probeTree();
});

/** Without a user namespace root inside is the host's, and its mounts are not locked. */
const USERS = [
  ["in a user namespace", []],
  ["with PrivateUsers=no", ["--private-users=no"]],
] as const;

describe.each(USERS)("%s", (_, users) => {
  const locked = users.length === 0;

  test("TemporaryFileSystem=, --tmpfs: empty file systems in memory, root's, of mode 0755, with the options asked for", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    mkdirSync(join(tree, "srv/kept"), { recursive: true });
    const before = readdirSync(tree, { recursive: true, encoding: "utf8" }).sort();
    root.settings(
      "own",
      "[Files]\nTemporaryFileSystem=/srv\nTemporaryFileSystem=/a\\:b/c:mode=0710,uid=33,gid=44,size=64k",
    );
    const talk = interview({
      mounts: ["mounts"],
      plain: ["stat", "/srv"],
      options: ["stat", "/a:b/c"],
      kept: ["stat", "/srv/kept"],
      write: ["write", "/srv/new", "x"],
      mine: ["stat", "/srv/new"],
      full: ["write", "/a:b/c/large", "x".repeat(70_000)],
      kernel: ["stat", "/mnt/k"],
      umount: ["umount", "/srv"],
      readOnly: ["write", "/mnt/ro/new", "x"],
    });
    const options = [...users, "--tmpfs=/mnt/k:noexec,nosuid,noatime", "--tmpfs=/mnt/ro:ro"];
    const { stdout, stderr } = await root.run(tree, options, talk.command);
    const answers = talk.answers(stdout);
    expect(stderr).not.toContain("error");
    expect(answers.line("plain")).toMatchObject({ type: "directory", mode: 0o755, uid: 0, gid: 0 });
    expect(answers.line("options")).toMatchObject({ mode: 0o710, uid: 33, gid: 44 });
    expect(answers.line("kernel")).toMatchObject({ mode: 0o1777, uid: 0 });
    expect(answers.line("mine")).toMatchObject({ uid: 0, gid: 0 });
    expect(answers.errors(["kept", "write", "full", "readOnly", "umount"])).toEqual({
      kept: "ENOENT",
      write: undefined,
      // What the probe says of a write that was cut short.
      full: "EIO",
      readOnly: "EROFS",
      umount: locked ? "EINVAL" : undefined,
    });
    const mounts = parseMounts(answers.text("mounts"));
    expect(mounts.get("/srv")).toMatchObject({ type: "tmpfs", options: ["rw", "nodev"] });
    expect(mounts.get("/mnt/k")).toMatchObject({ options: ["rw", "nosuid", "nodev", "noexec", "noatime"] });
    expect(mounts.get("/mnt/ro")).toMatchObject({ options: ["ro", "nodev"] });
    expect(mounts.get("/a:b/c")?.superOptions).toContain("size=64k");
    expect(readdirSync(tree, { recursive: true, encoding: "utf8" }).sort()).toEqual(before);
  });

  test("mounts are made by target, whatever the order they are written in: a tmpfs in a bind in a tmpfs", async () => {
    await using root = berthRoot();
    const source = root.directory("source");
    mkdirSync(join(source, "cache"));
    writeFileSync(join(source, "cache/hidden"), "");
    writeFileSync(join(source, "name"), "of the host");
    root.settings(
      "m",
      `[Files]\nTemporaryFileSystem=/a/b/cache\nBindReadOnly=${source}:/a/b\nTemporaryFileSystem=/a\nTemporaryFileSystem=/a-b`,
    );
    const talk = interview({
      a: ["ls", "/a"],
      name: ["cat", "/a/b/name"],
      cache: ["ls", "/a/b/cache"],
      write: ["write", "/a/b/cache/new", "x"],
      refused: ["write", "/a/b/new", "x"],
    });
    const answers = talk.answers((await root.run(shared, [...users, "-M", "m"], talk.command)).stdout);
    expect(answers.line("a")["names"]).toEqual(["b"]);
    expect(answers.text("name")).toBe("of the host");
    expect(answers.line("cache")["names"]).toEqual([]);
    expect(answers.errors(["write", "refused"])).toEqual({ write: undefined, refused: "EROFS" });
  });

  test("targets may lie in /tmp, /run and /dev, and links of the tree lead to places in the tree", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    mkdirSync(join(tree, "inside"));
    symlinkSync("/inside", join(tree, "in"));
    const targets = ["/tmp/t", "/run/r/s", "/dev/d", "/in/i", "/tmp"];
    const talk = interview({ mounts: ["mounts"] });
    const options = targets.map((target) => `--tmpfs=${target}:size=1m`);
    const { stdout } = await root.run(tree, [...users, ...options], talk.command);
    const mounts = parseMounts(talk.answers(stdout).text("mounts"));
    const seen = ["/tmp", "/tmp/t", "/run/r/s", "/dev/d", "/inside/i"];
    for (const target of seen) expect(mounts.get(target)?.superOptions, target).toContain("size=1024k");
  });
});

test("a target behind a link out of the tree is a place in the tree, and an error where there is none", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  const outside = root.directory("outside");
  symlinkSync(outside, join(tree, "out"));
  const { status, stderr } = await root.run(tree, ["--tmpfs=/out/o"], probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toContain("attach tmpfs:0 on /out/o");
  mkdirSync(join(tree, outside), { recursive: true });
  const { stdout } = await root.run(tree, ["--tmpfs=/out/o"], probe("mounts"));
  expect(parseMounts(stdout).has(`${outside}/o`)).toBe(true);
  expect(readdirSync(outside)).toEqual([]);
});

test.each([
  ["/t:dev", "device nodes"],
  ["/t:size=1m,context=x", 'unknown tmpfs option "context=x"'],
  ["/t:bind", 'unknown tmpfs option "bind"'],
  ["/t:mode=999", '"mode=999" is no valid tmpfs option'],
  ["/", "would hide the whole tree"],
  ["/proc/x", "the machine needs for itself"],
  ["/t:uid=70000", "beyond the machine's own"],
])("--tmpfs=%s is refused by name", async (value, what) => {
  await using root = berthRoot();
  const { status, stdout, stderr } = await root.run(shared, [`--tmpfs=${value}`], probe("cwd"));
  expect([status, stdout]).toEqual([what.startsWith("beyond") ? 125 : 2, ""]);
  expect(stderr).toContain(what);
});

test("of one target the last kind is seen, and the one below it is warned about", async () => {
  await using root = berthRoot();
  const source = root.directory("source");
  const path = root.settings("m", `[Files]\nTemporaryFileSystem=/x\nBindReadOnly=${source}:/x`);
  const { stdout, stderr } = await root.run(shared, ["-M", "m"], probe("write", "/x/new", "x"));
  expect(stdout).toContain('"ok":true');
  expect(stderr).toContain(`${path}:2:21: warning: tmpfs target "/x" hides the one of ${path}:3`);
});
