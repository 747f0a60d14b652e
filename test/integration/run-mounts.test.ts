/** What settings mount besides binds and overlays, and the order of it all, seen from inside. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { parseMounts } from "../lib/mounts.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree: shared } = setUpProbe();

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

  test("Inaccessible=, --inaccessible: nodes of any type are covered by one of their type that has nothing to give", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    const shown = root.directory("shown");
    mkdirSync(join(tree, "dir/below"), { recursive: true });
    mkdirSync(join(shown, "secret"));
    writeFileSync(join(shown, "secret/file"), "of the host");
    writeFileSync(join(tree, "reg"), "of the tree");
    symlinkSync("/reg", join(tree, "link"));
    execFileSync("mkfifo", [join(tree, "fifo")]);
    execFileSync("mknod", [join(tree, "blk"), "b", "7", "0"]);
    root.settings(
      "own",
      `[Files]\nInaccessible=/dir\nInaccessible=/link\nInaccessible=/shown/secret\nBind=${shown}:/shown`,
    );
    const covered = ["/fifo", "/blk", "/dev/urandom", "/run/host/notify", "/proc/version", "/sys/class/net", "/tmp"];
    const talk = interview({
      dir: ["stat", "/dir"],
      below: ["stat", "/dir/below"],
      list: ["ls", "/dir"],
      make: ["write", "/dir/new", "x"],
      reg: ["stat", "/reg"],
      read: ["cat", "/reg"],
      write: ["open-rw", "/reg"],
      inBind: ["ls", "/shown/secret"],
      chr: ["open-rw", "/dev/urandom"],
      fifo: ["stat", "/fifo"],
      blk: ["stat", "/blk"],
      device: ["stat", "/dev/urandom"],
      socket: ["stat", "/run/host/notify"],
      proc: ["cat", "/proc/version"],
      sys: ["ls", "/sys/class/net"],
      tmp: ["write", "/tmp/new", "x"],
      remount: ["remount-rw", "/dir"],
      umount: ["umount", "/dir"],
    });
    const options = covered.map((path) => `--inaccessible=${path}`);
    const answers = talk.answers((await root.run(tree, [...users, ...options], talk.command)).stdout);
    const nobody = { mode: 0, size: 0, ...(locked ? { uid: 65534, gid: 65534 } : { uid: 0, gid: 0 }) };
    expect(answers.line("dir")).toMatchObject({ type: "directory", mode: 0, uid: nobody.uid });
    expect(answers.line("reg")).toMatchObject({ type: "file", ...nobody });
    expect(answers.line("fifo")).toMatchObject({ type: "fifo", ...nobody });
    expect(answers.line("blk")).toMatchObject({ ...nobody, major: 0, minor: 0 });
    expect(answers.line("device")).toMatchObject({ ...nobody, major: 0, minor: 0 });
    expect(answers.line("socket")).toMatchObject({ type: "socket", ...nobody });
    expect(answers.errors(["chr", "make", "tmp", "write"])).toEqual({
      chr: "EACCES",
      make: locked ? "EACCES" : "EROFS",
      tmp: locked ? "EACCES" : "EROFS",
      write: locked ? "EACCES" : "EROFS",
    });
    const looks = ["list", "below", "read", "inBind", "proc", "sys"] as const;
    if (locked) {
      expect(answers.errors(looks)).toEqual(Object.fromEntries(looks.map((look) => [look, "EACCES"])));
      expect(answers.errors(["remount", "umount"])).toEqual({ remount: "EPERM", umount: "EINVAL" });
    } else {
      expect(["list", "inBind", "sys"].map((look) => answers.line(look as "list")["names"])).toEqual([[], [], []]);
      expect([answers.text("read"), answers.text("proc")]).toEqual(["", ""]);
      expect(answers.errors(["below"])).toEqual({ below: "ENOENT" });
    }
    expect(readFileSync(join(tree, "reg"), "utf8")).toBe("of the tree");
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

test("a path that is not there can't be made inaccessible: the start says which, and where it is written", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  const path = root.settings("own", "[Files]\n\nInaccessible=/nowhere/at/all");
  const source = root.directory("source");
  const options = [`--bind=${source}:/mnt`, "--tmpfs=/mnt/made/for/it"];
  const { status, stdout, stderr } = await root.run(tree, options, probe("cwd"));
  expect([status, stdout]).toEqual([125, ""]);
  // What was made there before.
  expect(readdirSync(source)).toEqual([]);
  expect(stderr).toContain("/nowhere/at/all");
  expect(stderr).toContain(`${path}:3`);
  expect(stderr).toContain("ENOENT");
  expect(stderr).toMatch(/^hint: only what is there, in the tree or mounted there by then, can be made inaccessible/m);
});

test("what is berth's own in /run/host has no place for mounts, and the start says that", async () => {
  await using root = berthRoot();
  const source = root.directory("source");
  for (const option of [`--bind=${source}:/run/host/new`, "--tmpfs=/run/host/new", "--overlay=+/etc::/run/host/new"]) {
    const { status, stderr } = await root.run(shared, [option], probe("cwd"));
    expect(status, option).toBe(125);
    expect(stderr, option).toMatch(/^hint: \/run\/host is berth's own and read-only inside: choose a place outside/m);
  }
});

test("of one target the last kind is seen, and the one below it is warned about", async () => {
  await using root = berthRoot();
  const source = root.directory("source");
  const path = root.settings("m", `[Files]\nTemporaryFileSystem=/x\nBindReadOnly=${source}:/x`);
  const { stdout, stderr } = await root.run(shared, ["-M", "m"], probe("write", "/x/new", "x"));
  expect(stdout).toContain('"ok":true');
  expect(stderr).toContain(`${path}:2:21: warning: tmpfs target "/x" hides the one of ${path}:3`);
});
