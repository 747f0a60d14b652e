/** Overlay= and OverlayReadOnly=, seen from inside and from the host. */
import { execFileSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { parseMounts } from "../lib/mounts.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { setUpProbe } from "../lib/set-up.ts";

const { tree: shared } = setUpProbe();

/** A directory of the host that holds files with their names as content. */
function layer(root: BerthRoot, name: string, ...files: readonly string[]): string {
  const directory = root.directory(name);
  for (const file of files) writeFileSync(join(directory, file), `${file} of ${name}`);
  return directory;
}

function temporaries(root: BerthRoot): readonly string[] {
  return readdirSync(root.machines).filter((name) => name.startsWith(".berth-temporary"));
}

const USERS = [
  ["in a user namespace", []],
  ["with PrivateUsers=no", ["--private-users=no"]],
] as const;

describe.each(USERS)("%s", (_, users) => {
  test("Overlay=, --overlay: layers are one directory, changes go to the last one with the machine's ids as the host's", async () => {
    await using root = berthRoot();
    const lower = layer(root, "lower", "kept", "both", "removed");
    const middle = layer(root, "middle", "middle", "both");
    const upper = layer(root, "up,per:x", "upper");
    chownSync(join(lower, "kept"), 1000, 1001);
    mkdirSync(join(lower, "sub"));
    const talk = interview({
      names: ["ls", "/data"],
      both: ["cat", "/data/both"],
      owner: ["stat", "/data/kept"],
      change: ["write", "/data/kept", "changed"],
      make: ["write", "/data/new", "new"],
      below: ["write", "/data/sub/new", "new"],
      mounts: ["mounts"],
    });
    const escaped = upper.replaceAll(":", "\\:");
    root.settings("m", `[Files]\nOverlay=${lower}:${middle}:${escaped}:/data`);
    const { stdout, stderr } = await root.run(shared, [...users, "-M", "m"], talk.command);
    const answers = talk.answers(stdout);
    expect((answers.line("names")["names"] as string[]).toSorted()).toEqual([
      "both",
      "kept",
      "middle",
      "removed",
      "sub",
      "upper",
    ]);
    expect(answers.text("both")).toBe("both of middle");
    expect(answers.line("owner")).toMatchObject({ uid: 1000, gid: 1001 });
    expect(answers.errors(["change", "make", "below"])).toEqual({
      change: undefined,
      make: undefined,
      below: undefined,
    });
    expect(parseMounts(answers.text("mounts")).get("/data")).toMatchObject({
      type: "overlay",
      options: ["rw", "nodev", "relatime"],
    });
    expect(readFileSync(join(lower, "kept"), "utf8")).toBe("kept of lower");
    expect(readdirSync(upper).sort()).toEqual(["kept", "new", "sub", "upper"]);
    expect(lstatSync(join(upper, "kept"))).toMatchObject({ uid: 1000, gid: 1001 });
    expect(lstatSync(join(upper, "new"))).toMatchObject({ uid: 0, gid: 0 });
    expect(readdirSync(root.path).filter((name) => name.startsWith(".berth-work"))).toEqual([]);
    expect(stderr).toContain(`it may write to ${upper} of the host`);
  });

  test("OverlayReadOnly=, --overlay-ro: nothing can be written, and root inside can't change that", async () => {
    await using root = berthRoot();
    const [one, two] = [layer(root, "one", "a", "both"), layer(root, "two", "b", "both")];
    const talk = interview({
      names: ["ls", "/data"],
      both: ["cat", "/data/both"],
      write: ["write", "/data/new", "x"],
      remount: ["remount-rw", "/data"],
    });
    const { stdout, stderr } = await root.run(shared, [...users, "--overlay-ro=one:two:/data"], talk.command, {
      cwd: root.path,
    });
    const answers = talk.answers(stdout);
    expect((answers.line("names")["names"] as string[]).toSorted()).toEqual(["a", "b", "both"]);
    expect(answers.text("both")).toBe("both of two");
    expect(answers.line("write").error).toBe("EROFS");
    if (users.length === 0) expect(answers.line("remount").error).toBe("EPERM");
    expect([readdirSync(one), readdirSync(two)]).toEqual([
      ["a", "both"],
      ["b", "both"],
    ]);
    expect(stderr).not.toContain("may write");
  });

  test("a layer of the tree with an empty one over it can be written to while the machine runs, and no longer", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    writeFileSync(join(tree, "etc/kept"), "of the tree");
    chownSync(join(tree, "etc/kept"), 33, 44);
    const talk = interview({
      kept: ["stat", "/etc/kept"],
      write: ["write", "/etc/kept", "changed"],
      read: ["cat", "/etc/kept"],
      owner: ["stat", "/etc"],
    });
    const { stdout, stderr } = await root.run(tree, [...users, "--overlay=+/etc::/etc"], talk.command);
    const answers = talk.answers(stdout);
    expect(answers.line("kept")).toMatchObject({ uid: 33, gid: 44 });
    expect(answers.line("owner")).toMatchObject({ uid: 0, mode: 0o755 });
    expect(answers.text("read")).toBe("changed");
    expect(readFileSync(join(tree, "etc/kept"), "utf8")).toBe("of the tree");
    expect(temporaries(root)).toEqual([]);
    expect(stderr).not.toContain("may write to");
  });

  test("two paths: the second is the layer that is written to, and the target; of the tree with a plus sign", async () => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    const lower = layer(root, "lower", "below");
    mkdirSync(join(tree, "srv/here"), { recursive: true });
    const talk = interview({
      names: ["ls", "/srv/here"],
      write: ["write", "/srv/here/new", "x"],
      tree: ["ls", "/srv"],
    });
    const { stdout } = await root.run(tree, [...users, `--overlay=${lower}:+/srv/here`], talk.command);
    const answers = talk.answers(stdout);
    expect(answers.line("names")["names"]).toEqual(["below"]);
    expect(answers.line("write")["ok"]).toBe(true);
    expect(readdirSync(join(tree, "srv/here"))).toEqual(["new"]);
    expect(readdirSync(join(tree, "srv"))).toEqual(["here"]);
    expect(lstatSync(join(tree, "srv/here/new"))).toMatchObject({ uid: 0, gid: 0 });
  });

  test("an overlay on a bind, a bind in an overlay, and what is inaccessible in both", async () => {
    await using root = berthRoot();
    const bound = layer(root, "bound", "of-bind");
    mkdirSync(join(bound, "over"));
    const lower = layer(root, "lower", "secret", "shown");
    mkdirSync(join(lower, "deep"));
    root.settings(
      "m",
      `[Files]
Inaccessible=/b/over/secret
Bind=${bound}:/b/over/deep
Overlay=${lower}::/b/over
BindReadOnly=${bound}:/b`,
    );
    const talk = interview({
      over: ["ls", "/b/over"],
      deep: ["ls", "/b/over/deep"],
      shown: ["write", "/b/over/shown", "x"],
      secret: ["stat", "/b/over/secret"],
      bind: ["write", "/b/new", "x"],
    });
    const answers = talk.answers((await root.run(shared, [...users, "-M", "m"], talk.command)).stdout);
    expect((answers.line("over")["names"] as string[]).toSorted()).toEqual(["deep", "secret", "shown"]);
    expect((answers.line("deep")["names"] as string[]).toSorted()).toEqual(["of-bind", "over"]);
    expect(answers.line("secret")).toMatchObject({ mode: 0, size: 0 });
    expect(answers.errors(["shown", "bind"])).toEqual({ shown: undefined, bind: "EROFS" });
    expect(readFileSync(join(lower, "shown"), "utf8")).toBe("shown of lower");
  });
});

test("many overlays and many layers, of which each upper one is where the host's link leads", async () => {
  await using root = berthRoot();
  const layers = Array.from({ length: 40 }, (_, index) => layer(root, `l${index}`, `f${index}`));
  const upper = layer(root, "real", "top");
  symlinkSync(upper, join(root.path, "link"));
  const many = Array.from({ length: 12 }, (_, index) => `--overlay=${layers[0]}:${layers[1]}::/o/${index}`);
  const talk = interview({ names: ["ls", "/all"], write: ["write", "/all/new", "x"], last: ["ls", "/o/11"] });
  const overlay = `--overlay=${layers.join(":")}:${join(root.path, "link")}:/all`;
  const { stdout } = await root.run(shared, [overlay, ...many], talk.command);
  const answers = talk.answers(stdout);
  expect(answers.line("names")["names"]).toHaveLength(41);
  expect(answers.line("last")["names"]).toHaveLength(2);
  expect(readdirSync(upper).sort()).toEqual(["new", "top"]);
});

test("Overlay=: a layer that one machine writes to no other does, at the same time", async () => {
  await using root = berthRoot();
  const [lower, upper] = [layer(root, "lower", "below"), layer(root, "upper")];
  symlinkSync(upper, join(root.path, "link"));
  const over = `--overlay=${lower}:${upper}:/x`;
  const words = ["-M", "first", over, "--console=read-only", "--", ...probe("init", "--term")];
  await using first = root.start("run", "-D", await probeTree({ at: join(root.machines, "one") }), ...words);
  await first.until(/^up/m);
  const tree = await probeTree({ at: join(root.machines, "two") });
  const byLink = `--overlay=${lower}:${root.path}/link:/x`;
  const second = await root.run(tree, [byLink], probe("cwd"));
  expect([second.status, second.stdout]).toEqual([125, ""]);
  expect(second.stderr).toContain(`${upper} is in use by another machine`);
  expect(second.stderr).toMatch(/^hint: .*give each overlay one of its own/m);
  const reads = await root.run(tree, [`--overlay=${lower}::/x`], probe("write", "/x/new", "x"));
  expect(reads.stdout).toContain('"ok":true');
  first.kill();
  expect((await first.end).status).toBe(0);
  expect((await root.run(tree, [byLink], probe("write", "/x/new", "x"))).stdout).toContain('"ok":true');
  expect(readdirSync(upper)).toEqual(["new"]);
});

test("Overlay=: layers that lie in each other are named as the reason", async () => {
  await using root = berthRoot();
  const lower = layer(root, "lower");
  mkdirSync(join(lower, "in"));
  const { status, stderr } = await root.run(shared, [`--overlay-ro=${lower}:${lower}/in:/x`], probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toMatch(/^hint: two layers are the same directory, or one lies in the other/m);
});

test.each([
  ["one directory as two layers", "/etc:/etc/../etc:/x", "are the same directory", 125],
  ["a layer that is not there", "/nonexistent/lower::/x", "can't be opened: ENOENT", 125],
  ["a layer that is a file", "+/etc/os-release::/x", "is no directory", 125],
  ["the tree itself to write to", "/etc:+/", "would hide the whole tree", 2],
  ["one path", "/etc", "is one path, which is no overlay", 2],
  ["an empty layer below", "::/x", "a layer is empty, and only the last one may be", 2],
  ["an upper layer of the tree in a copy", "/etc:+/etc:/x", "would write to", 2],
])("%s is refused by name, before anything is made", async (what, value, message, expected) => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  const before = readdirSync(root.path).sort();
  const options = what.includes("copy") ? ["-x"] : [];
  const { status, stdout, stderr } = await root.run(tree, [...options, `--overlay=${value}`], probe("cwd"));
  expect([status, stdout]).toEqual([expected, ""]);
  expect(stderr).toContain(message);
  expect(
    readdirSync(root.path)
      .filter((name) => name !== "run")
      .sort(),
  ).toEqual(before.filter((name) => name !== "run"));
});

test("a mount point can't be written to as a layer, and file systems that can't map ids are named", async () => {
  await using root = berthRoot();
  const [lower, upper, work, merged] = ["l", "u", "w", "m"].map((name) => root.directory(name));
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, merged ?? ""]);
  try {
    const asUpper = await root.run(shared, [`--overlay=${lower}:${merged}:/x`, "--private-users=no"], probe("cwd"));
    expect(asUpper.stderr).toContain("is a mount point, and the kernel wants a work directory beside it");
    const asLower = await root.run(shared, [`--overlay=${merged}::/x`], probe("cwd"));
    expect(asLower.stderr).toContain("a file system of type overlay can't map ids");
    const unmapped = await root.run(shared, [`--overlay=${merged}::/x`, "--private-users=no"], probe("cwd"));
    expect(unmapped.status).toBe(0);
  } finally {
    execFileSync("umount", [merged ?? ""]);
  }
});

test.each([
  ["of the tree", "+/srv/up"],
  ["of the host", null],
])(
  "Overlay=: where a link in place of the work directory leads, nothing is removed or given away: %s",
  async (_, own) => {
    await using root = berthRoot();
    const tree = await probeTree({ at: join(root.machines, "own") });
    const parent = own === null ? root.directory("host") : join(tree, "srv");
    const victim = root.directory("victim");
    for (const path of [join(parent, "up"), join(victim, "work")]) mkdirSync(path, { recursive: true });
    const running = root.run(tree, [`--overlay=+/etc:${own ?? join(parent, "up")}:/x`], probe("sleep", "3000"));
    const used = (): string | undefined =>
      readdirSync(parent).find((name) => name.startsWith(".berth-work") && existsSync(join(parent, name, "work")));
    while (used() === undefined) await sleep(10);
    const work = join(parent, used() ?? "");
    renameSync(work, join(parent, "moved"));
    symlinkSync(victim, work);
    const { status, stderr } = await running;
    expect([status, stderr.includes("victim")]).toEqual([0, false]);
    expect(lstatSync(victim)).toMatchObject({ uid: 0, gid: 0 });
    expect(readdirSync(victim)).toEqual(["work"]);
  },
);

test("links in the tree lead a layer of the tree nowhere out of it", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  const outside = layer(root, "outside", "secret");
  symlinkSync(outside, join(tree, "out"));
  const { status, stdout } = await root.run(tree, [`--overlay=+/out::/x`], probe("ls", "/x"));
  expect([status, stdout]).toEqual([125, ""]);
  mkdirSync(join(tree, outside), { recursive: true });
  const inside = await root.run(tree, [`--overlay=+/etc:+/out:/x`], probe("write", "/x/new", "x"));
  expect(inside.status).toBe(0);
  expect(readdirSync(outside)).toEqual(["secret"]);
  expect(existsSync(join(tree, outside, "new"))).toBe(true);
});
