/** Bind= and BindReadOnly=, from settings files and as options. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type BerthRoot, berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree: shared } = setUpProbe();

/** A tree of this root's own, to see what a run leaves in it. */
function ownTree(root: BerthRoot, name = "own"): Promise<string> {
  return probeTree({ at: join(root.machines, name) });
}

/** Everything below, to compare. */
function listing(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
}

test("Bind=, BindReadOnly=: directories and files are seen, read-only ones cannot be written or remounted, owners stay the host's", async () => {
  await using root = berthRoot();
  const directory = root.directory("shared", 0o777);
  writeFileSync(join(directory, "file"), "of the host");
  chownSync(join(directory, "file"), 1000, 1000);
  const file = join(root.path, "one");
  writeFileSync(file, "one file");
  chmodSync(file, 0o666);
  root.settings("m", `[Files]\nBind=${directory}:/rw\nBindReadOnly=${directory}:/ro\nBind=${file}:/file`);
  const talk = interview({
    read: ["cat", "/rw/file"],
    readOnly: ["cat", "/ro/file"],
    owner: ["stat", "/rw/file"],
    write: ["write", "/rw/new", "of the machine"],
    refused: ["write", "/ro/new", "x"],
    remount: ["remount-rw", "/ro"],
    one: ["cat", "/file"],
    change: ["write", "/file", "changed"],
  });
  const { stdout, stderr } = await root.run(shared, ["-M", "m"], talk.command);
  const answers = talk.answers(stdout);
  expect([answers.text("read"), answers.text("readOnly"), answers.text("one")]).toEqual([
    "of the host",
    "of the host",
    "one file",
  ]);
  expect(answers.line("owner")).toMatchObject({ uid: 65534, gid: 65534 });
  expect(answers.errors(["write", "refused", "remount", "change"])).toEqual({
    ...{ write: undefined, change: undefined },
    ...{ refused: "EROFS", remount: "EPERM" },
  });
  expect(readFileSync(join(directory, "new"), "utf8")).toBe("of the machine");
  expect(lstatSync(join(directory, "new")).uid).toBeGreaterThanOrEqual(524288);
  expect(readFileSync(file, "utf8")).toBe("changed");
  expect(stderr).toContain(`it may write to ${directory} of the host [${root.etc}/machines/m.nspawn:2]`);
});

test("Bind=...:idmap: the host's ids are the machine's, both ways", async () => {
  await using root = berthRoot();
  const directory = root.directory("mapped");
  writeFileSync(join(directory, "root"), "");
  writeFileSync(join(directory, "user"), "");
  chownSync(join(directory, "user"), 1000, 1001);
  const talk = interview({
    root: ["stat", "/mapped/root"],
    user: ["stat", "/mapped/user"],
    write: ["write", "/mapped/new", "x"],
    mine: ["stat", "/mapped/new"],
  });
  const { stdout } = await root.run(shared, [`--bind=${directory}:/mapped:idmap`], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("root")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("user")).toMatchObject({ uid: 1000, gid: 1001 });
  expect(answers.line("mine")).toMatchObject({ uid: 0, gid: 0 });
  expect(lstatSync(join(directory, "new"))).toMatchObject({ uid: 0, gid: 0 });
});

test("Bind=...:rootidmap: who has the source is root inside, as user and group, and others are nobody", async () => {
  await using root = berthRoot();
  const directory = root.directory("mapped");
  for (const [name, uid, gid] of [
    ["mine", 1000, 1000],
    ["group", 1000, 5],
    ["other", 7, 7],
  ] as const) {
    writeFileSync(join(directory, name), name);
    chownSync(join(directory, name), uid, gid);
  }
  chownSync(directory, 1000, 5);
  const talk = interview({
    root: ["stat", "/mapped"],
    mine: ["stat", "/mapped/mine"],
    group: ["stat", "/mapped/group"],
    other: ["stat", "/mapped/other"],
    write: ["write", "/mapped/new", "x"],
    refused: ["open-rw", "/mapped/other"],
  });
  const { stdout, stderr } = await root.run(shared, [`--bind=${directory}:/mapped:rootidmap`], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("root")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("mine")).toMatchObject({ uid: 0, gid: 65534 });
  expect(answers.line("group")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("other")).toMatchObject({ uid: 65534, gid: 65534 });
  expect(answers.errors(["write", "refused"])).toEqual({ write: undefined, refused: "EACCES" });
  expect(lstatSync(join(directory, "new"))).toMatchObject({ uid: 1000, gid: 5 });
  expect(stderr).toContain("as its owner, set-user-ID bits included");
});

test("Bind=...:owneridmap: who has the source is who has the target inside, root where there is none", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  mkdirSync(join(tree, "srv/www"), { recursive: true });
  chownSync(join(tree, "srv/www"), 33, 44);
  const directory = root.directory("mapped");
  chownSync(directory, 1000, 1000);
  const talk = interview({
    www: ["stat", "/srv/www"],
    made: ["stat", "/new/place"],
    run: ["stat", "/run/place"],
    write: ["write", "/new/place/new", "x"],
  });
  const options = ["/srv/www", "/new/place", "/run/place"].map((path) => `--bind=${directory}:${path}:owneridmap`);
  const answers = talk.answers((await root.run(tree, options, talk.command)).stdout);
  expect(answers.line("www")).toMatchObject({ uid: 33, gid: 44 });
  expect(answers.line("made")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("run")).toMatchObject({ uid: 0, gid: 0 });
  expect(answers.line("write")["ok"]).toBe(true);
  expect(lstatSync(join(directory, "new"))).toMatchObject({ uid: 1000, gid: 1000 });
  const inOther = [`--bind=${directory}:/mnt`, `--bind=${directory}:/mnt/x:owneridmap`];
  const refused = await root.run(tree, inOther, probe("cwd"));
  expect([refused.status, refused.stdout]).toEqual([2, ""]);
  expect(refused.stderr).toContain('owneridmap: "/mnt/x" is no place of the tree\'s own, but lies in "/mnt"');
});

test.each([[[]], [["--private-users=no"]]] as const)(
  "Bind=:..., without a source: a temporary directory of the machine's root, gone after it %j",
  async (users) => {
    await using root = berthRoot();
    const temporaries = () => readdirSync(root.machines).filter((name) => name.startsWith(".berth-temporary"));
    const talk = interview({
      stat: ["stat", "/cache"],
      names: ["ls", "/cache"],
      write: ["write", "/cache/new", "x"],
      mounts: ["mounts"],
    });
    const answers = talk.answers((await root.run(shared, [...users, "--bind=:/cache"], talk.command)).stdout);
    expect(answers.line("stat")).toMatchObject({ type: "directory", mode: 0o755, uid: 0, gid: 0 });
    expect(answers.line("names")["names"]).toEqual([]);
    expect(answers.line("write")["ok"]).toBe(true);
    expect(answers.text("mounts")).toContain(" /cache ");
    expect(temporaries()).toEqual([]);
  },
);

test.each(["idmap", "rootidmap", "owneridmap"])(
  "a file system that can't map owners is named, with what would do: %s",
  async (option) => {
    await using root = berthRoot();
    const [lower, upper, work, merged] = ["l", "u", "w", "m"].map((name) => root.directory(name));
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, merged ?? ""]);
    try {
      const { status, stdout, stderr } = await root.run(shared, [`--bind=${merged}:/mnt:${option}`], probe("cwd"));
      expect([status, stdout]).toEqual([125, ""]);
      expect(stderr).toContain("a file system of type overlay can't map ids");
      expect(stderr).toContain("noidmap shows owners as they are");
      const plain = await root.run(shared, [`--bind=${merged}:/mnt:${option}`, "--private-users=no"], probe("cwd"));
      expect(plain.status).toBe(0);
    } finally {
      execFileSync("umount", [merged ?? ""]);
    }
  },
);

test("--bind, --bind-ro: mounted one in another, and of one target a later one over an earlier one", async () => {
  await using root = berthRoot();
  const [outer, inner, over] = ["outer", "inner", "over"].map((name) => {
    const directory = root.directory(name);
    writeFileSync(join(directory, "name"), name);
    return directory;
  });
  mkdirSync(join(outer ?? "", "inner"));
  root.settings("m", `[Files]\nBindReadOnly=${outer}:/a\nBindReadOnly=${inner}:/a/inner\nBindReadOnly=${outer}:/b`);
  const talk = interview({ a: ["cat", "/a/name"], inner: ["cat", "/a/inner/name"], b: ["cat", "/b/name"] });
  const { stdout, stderr } = await root.run(shared, ["-M", "m", `--bind-ro=${over}:/b`], talk.command);
  const answers = talk.answers(stdout);
  expect([answers.text("a"), answers.text("inner"), answers.text("b")]).toEqual(["outer", "inner", "over"]);
  expect(stderr).toContain(`bind target "/b" hides the one of ${root.etc}/machines/m.nspawn:4`);
});

test.each(["yes", "no"])("more of them than a machine may have files open, private users: %s", async (users) => {
  await using root = berthRoot();
  const directory = root.directory("shared");
  const binds = Array.from({ length: 1100 }, (_, index) => `BindReadOnly=${directory}:/tmp/${index}`);
  root.settings("m", `[Exec]\nPrivateUsers=${users}\n[Files]\n${binds.join("\n")}`);
  const { status, stderr } = await root.run(await ownTree(root), ["-M", "m"], probe("exit", "3"));
  expect(status, stderr.slice(-500)).toBe(3);
});

test("mount points that a tree lacks are made for the run and gone after it, those that it has stay", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  mkdirSync(join(tree, "there"));
  writeFileSync(join(tree, "there/file"), "of the tree");
  const file = join(root.path, "file");
  writeFileSync(file, "of the host");
  const before = listing(tree);
  const options = [`--bind-ro=${root.directory("d")}:/new/deep/directory`, `--bind-ro=${file}:/new/file`];
  const talk = interview({
    made: ["stat", "/new/deep"],
    directory: ["stat", "/new/deep/directory"],
    file: ["cat", "/new/file"],
    over: ["cat", "/there/file"],
  });
  const { stdout } = await root.run(tree, [...options, `--bind-ro=${file}:/there/file`], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("made")).toMatchObject({ type: "directory", mode: 0o755, uid: 0 });
  expect(answers.line("directory")).toMatchObject({ type: "directory" });
  expect([answers.text("file"), answers.text("over")]).toEqual(["of the host", "of the host"]);
  expect(listing(tree)).toEqual(before);
  expect(readFileSync(join(tree, "there/file"), "utf8")).toBe("of the tree");
});

test("what the machine put into a mount point's directory is not removed with it", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  await root.run(tree, [`--bind-ro=${root.directory("d")}:/new/d`], probe("write", "/new/kept", "x"));
  expect(readFileSync(join(tree, "new/kept"), "utf8")).toBe("x");
  expect(existsSync(join(tree, "new/d"))).toBe(false);
  expect(lstatSync(join(tree, "new"))).toMatchObject({ uid: 0 });
});

test("mounts below a source come along with rbind, not with norbind, and read-only reaches them", async () => {
  await using root = berthRoot();
  const source = root.directory("source");
  const below = root.directory("source/below");
  execFileSync("mount", ["-t", "tmpfs", "-o", "mode=777", "tmpfs", below]);
  try {
    writeFileSync(join(below, "deep"), "in the submount");
    const options = [`--bind-ro=${source}:/r`, `--bind-ro=${source}:/n:norbind`];
    const talk = interview({
      recursive: ["cat", "/r/below/deep"],
      plain: ["cat", "/n/below/deep"],
      write: ["write", "/r/below/new", "x"],
      remount: ["remount-rw", "/r/below"],
    });
    const answers = talk.answers((await root.run(shared, options, talk.command)).stdout);
    expect(answers.text("recursive")).toBe("in the submount");
    expect(answers.errors(["plain", "write", "remount"])).toEqual({
      plain: "ENOENT",
      write: "EROFS",
      remount: "EPERM",
    });
  } finally {
    execFileSync("umount", [below]);
  }
});

test("what the host mounts below a source later shows inside, and nothing the other way round", async () => {
  await using root = berthRoot();
  const source = root.directory("source");
  execFileSync("mount", ["--bind", source, source]);
  execFileSync("mount", ["--make-shared", source]);
  try {
    for (const name of ["late", "own"]) root.directory(`source/${name}`, 0o777);
    const words = ["-M", "m", "--console=read-only", `--bind=${source}:/mnt`];
    const inside = ["mount", "tmpfs", "/mnt/own", "tmpfs", "0", "-", "--", "echo"];
    await using child = root.start("run", "-D", shared, ...words, "--", ...probe("init", "--term", ...inside));
    await child.until(/"verb":"mount","ok":true/);
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(source, "late")]);
    writeFileSync(join(source, "late/file"), "later");
    const { stdout } = await root.berth("exec", "m", "--", ...probe("cat", "/mnt/late/file"));
    expect(stdout).toBe("later");
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(join(source, "own"));
    execFileSync("umount", [join(source, "late")]);
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
  } finally {
    execFileSync("umount", ["-R", source]);
  }
});

test("+ takes the source from the tree, and relative sources of options are the caller's", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  mkdirSync(join(tree, "srv"));
  writeFileSync(join(tree, "srv/name"), "of the tree");
  writeFileSync(join(root.directory("here"), "name"), "of the caller");
  const talk = interview({ tree: ["cat", "/mnt/name"], here: ["cat", "/opt/name"], write: ["write", "/mnt/new", "x"] });
  const options = ["--bind=+/srv:/mnt", "--bind-ro=here:/opt"];
  const answers = talk.answers((await root.run(tree, options, talk.command, { cwd: root.path })).stdout);
  expect([answers.text("tree"), answers.text("here")]).toEqual(["of the tree", "of the caller"]);
  expect(answers.line("write")["ok"]).toBe(true);
  expect(lstatSync(join(tree, "srv/new"))).toMatchObject({ uid: 0, gid: 0 });
});

test("a source that is not there fails the start by name and place, before anything is made", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const before = listing(root.path);
  const path = root.settings("own", "[Files]\n\n\nBind=/nonexistent/source:/mnt");
  const { status, stdout, stderr } = await root.run(tree, [], probe("cwd"));
  expect([status, stdout]).toEqual([125, ""]);
  expect(stderr).toContain(`${path}:4:`);
  expect(stderr).toContain("/nonexistent/source");
  rmSync(path);
  expect(listing(root.path).filter((name) => !name.startsWith("run"))).toEqual(before);
});

test("in an ephemeral machine mount points of binds are made in its layer", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const before = listing(tree);
  const file = join(root.path, "file");
  writeFileSync(file, "of the host");
  const { stdout } = await root.run(tree, ["-x", `--bind-ro=${file}:/new/file`], probe("cat", "/new/file"));
  expect(stdout).toBe("of the host");
  expect(listing(tree)).toEqual(before);
});

test("an ephemeral machine may see its tree by + and never write to it", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const seen = await root.run(tree, ["-x", "--bind-ro=+/etc:/mnt"], probe("write", "/mnt/new", "x", "--", "cwd"));
  expect(seen.stdout).toContain('"error":"EROFS"');
  const refused = await root.run(tree, ["-x", "--bind=+/etc:/mnt"], probe("cwd"));
  expect(refused).toMatchObject({ status: 2, stdout: "" });
  expect(refused.stderr).toContain('would write to "/etc" of its tree');
});

test("a source in the tree that is a symbolic link stays in the tree", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const outside = root.directory("outside");
  writeFileSync(join(outside, "secret"), "of the host");
  symlinkSync(outside, join(tree, "out"));
  symlinkSync("/etc", join(tree, "in"));
  const refused = await root.run(tree, ["--bind-ro=+/out:/mnt"], probe("cat", "/mnt/secret"));
  expect(refused).toMatchObject({ status: 125, stdout: "" });
  const inside = await root.run(tree, ["--bind-ro=+/in:/mnt"], probe("ls", "/mnt"));
  expect(inside.stdout).toContain('"names":["os-release"]');
});
