/** PivotRoot=: a directory of the tree as the machine's root, and the tree itself in a place of it. */
import { lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { MERGED_PROBE, mergedTree } from "../lib/merged-tree.ts";
import { parseProbe } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const NEW = "/deploy/1";

/** As OSTree has it: a root to boot below /deploy, and beside it what all of them share. */
async function deployed(root: BerthRoot): Promise<string> {
  const tree = root.directory("machines/own");
  mkdirSync(join(tree, "deploy"));
  const inner = await mergedTree(join(tree, NEW));
  writeFileSync(join(inner, "etc/passwd"), "root:x:0:0::/root:/bin/sh\njo:x:1000:1000::/home/jo:/bin/sh\n");
  mkdirSync(join(tree, "shared"));
  writeFileSync(join(tree, "shared/file"), "shared");
  mkdirSync(join(tree, "etc"));
  writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nann:x:1001:1001::/home/ann:/bin/sh\n");
  return tree;
}

const QUESTIONS = interview({
  top: ["ls", "/"],
  deploy: ["ls", "/deploy"],
  kept: ["cat", "/opt/kept"],
  write: ["write", "/new", "x"],
  old: ["cat", "/sysroot/shared/file"],
  oldWrite: ["write", "/sysroot/shared/new", "x"],
  oldOwner: ["stat", "/sysroot/shared/file"],
});
const COMMAND = [MERGED_PROBE, ...QUESTIONS.command.slice(1)];

describe.each([
  ["in a user namespace", []],
  ["without one", ["--private-users=no"]],
] as const)("%s", (_, users) => {
  test("PivotRoot=, --pivot-root=PATH: that directory is all there is", async () => {
    await using root = berthRoot();
    const tree = await deployed(root);
    const typed = await root.run(tree, ["-q", ...users, `--pivot-root=${NEW}`], COMMAND);
    root.settings("own", `[Exec]\nPivotRoot=${NEW}/`);
    const fromFile = await root.run(tree, ["-q", ...users], COMMAND);
    for (const { stdout } of [typed, fromFile]) {
      const answers = QUESTIONS.answers(stdout);
      expect(answers.errors(["deploy", "kept", "write", "old"])).toEqual({
        deploy: "ENOENT",
        kept: undefined,
        write: undefined,
        old: "ENOENT",
      });
    }
    expect(lstatSync(join(tree, NEW, "new"))).toMatchObject({ uid: 0, gid: 0 });
  });

  test("PivotRoot=, --pivot-root=PATH:PATH: the old root is where the second one says", async () => {
    await using root = berthRoot();
    const tree = await deployed(root);
    const { stdout } = await root.run(tree, ["-q", ...users, `--pivot-root=${NEW}:/sysroot`], COMMAND);
    const answers = QUESTIONS.answers(stdout);
    expect(answers.text("old")).toBe("shared");
    expect(answers.line("oldOwner")).toMatchObject({ uid: 0, gid: 0 });
    expect(answers.errors(["write", "oldWrite"])).toEqual({ write: undefined, oldWrite: undefined });
    expect(lstatSync(join(tree, "shared/new"))).toMatchObject({ uid: 0, gid: 0 });
    // The mount point that was made for it.
    expect(lstatSync(join(tree, NEW, "sysroot"), { throwIfNoEntry: false })).toBeUndefined();
  });
});

test.each(["--read-only", "--volatile=state", "--volatile=overlay", "--volatile", "-x"])(
  "--pivot-root=PATH:PATH with %s changes nothing of the old root, either",
  async (option) => {
    await using root = berthRoot();
    const tree = await deployed(root);
    mkdirSync(join(tree, NEW, "sysroot"));
    const before = manifest(tree);
    const { stdout } = await root.run(tree, ["-q", option, `--pivot-root=${NEW}:/sysroot`], COMMAND);
    const answers = QUESTIONS.answers(stdout);
    expect(answers.text("old")).toBe("shared");
    expect(answers.errors(["oldWrite"])).toEqual({ oldWrite: "EROFS" });
    expect(manifest(tree)).toEqual(before);
  },
);

test("users, binds of the tree and commands that join are of the new root, and of the old one where that is", async () => {
  await using root = berthRoot();
  const tree = await deployed(root);
  const pivot = ["-q", `--pivot-root=${NEW}:/sysroot`];
  const jo = await root.run(tree, [...pivot, "-u", "jo"], [MERGED_PROBE, "ids"]);
  expect(parseProbe(jo.stdout, "ids")).toMatchObject({ euid: 1000 });
  const ann = await root.run(tree, [...pivot, "-u", "ann"], [MERGED_PROBE, "ids"]);
  expect(ann.status).toBe(125);
  const binds = ["--bind-ro=+/sysroot/shared:/mnt/old", "--bind-ro=+/opt:/mnt/new"];
  const words = ["ls", "/mnt/old", "--", "ls", "/mnt/new"];
  const bound = await root.run(tree, [...pivot, ...binds], [MERGED_PROBE, ...words]);
  expect(parseProbe(bound.stdout).map((line) => line["names"])).toEqual([["file"], ["kept"]]);
  const init = ["run", "-D", tree, "-M", "m", ...pivot, "--console=read-only", "--", MERGED_PROBE, "init", "--term"];
  await using child = root.start(...init);
  await child.until(/^up/m);
  await root.recordWhen("m");
  const joined = await root.berth("exec", "-u", "jo", "m", "--", MERGED_PROBE, "ids");
  expect(parseProbe(joined.stdout, "ids")).toMatchObject({ euid: 1000 });
  expect((await root.berth("status", "m")).stdout).toContain("berth test probe");
  child.kill("SIGTERM");
  await child.end;
});

describe("the paths of --pivot-root are the tree's", () => {
  test("a link to the new root is followed inside the tree, and not out of it", async () => {
    await using root = berthRoot();
    const tree = await deployed(root);
    const outside = await mergedTree(join(root.path, "outside"));
    symlinkSync("deploy/1", join(tree, "current"));
    symlinkSync(outside, join(tree, "out"));
    symlinkSync("../../../../../../../../../../../..", join(tree, "up"));
    expect((await root.run(tree, ["--pivot-root=/current"], [MERGED_PROBE, "cwd"])).status).toBe(0);
    const out = await root.run(tree, ["--pivot-root=/out"], [MERGED_PROBE, "cwd"]);
    expect(out).toMatchObject({ status: 125, stdout: "" });
    expect(out.stderr).toContain(`/out of ${tree}: no such directory`);
    // Up from the tree's root is the tree's root, which has no probe.
    const up = await root.run(tree, ["--pivot-root=/up"], [MERGED_PROBE, "cwd"]);
    expect(up).toMatchObject({ status: 127, stdout: "" });
  });

  test("a link in the place of the old root leads nowhere out of the new one", async () => {
    await using root = berthRoot();
    const tree = await deployed(root);
    const outside = root.directory("outside");
    symlinkSync(outside, join(tree, NEW, "sysroot"));
    const { status, stdout } = await root.run(tree, [`--pivot-root=${NEW}:/sysroot`], [MERGED_PROBE, "cwd"]);
    expect([status, stdout]).toEqual([125, ""]);
  });

  test.each([
    ["/", "the new root is the tree's own"],
    [`${NEW}:/`, 'the old root can\'t be at "/"'],
    [`${NEW}:/proc/x`, 'the old root can\'t be at "/proc/x"'],
    ["/a/../b", 'target "/a/../b" contains ".."'],
    ["relative", 'target "relative" is not absolute'],
    ["/a:/b:/c", "is no pair of roots"],
  ])("%s is refused", async (value, said) => {
    await using root = berthRoot();
    const tree = await deployed(root);
    const refused = await root.run(tree, [`--pivot-root=${value}`], [MERGED_PROBE, "cwd"]);
    expect(refused).toMatchObject({ status: 2, stdout: "" });
    expect(refused.stderr).toContain(said);
  });
});

test("PivotRoot= of settings that came with an image is ignored, with a word", async () => {
  await using root = berthRoot();
  const tree = await deployed(root);
  writeFileSync(`${tree}.nspawn`, `[Exec]\nPivotRoot=${NEW}\n`);
  const { stderr, status } = await root.run(tree, [], [MERGED_PROBE, "cwd"]);
  expect(status).toBe(127);
  expect(stderr).toContain("PivotRoot= is ignored: settings that come with an image may not set it");
});

test("PivotRoot= and a chown of the tree exclude each other", async () => {
  await using root = berthRoot();
  const tree = await deployed(root);
  const options = [`--pivot-root=${NEW}`, "--private-users-ownership=chown"];
  const refused = await root.run(tree, options, [MERGED_PROBE, "cwd"]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain("PivotRoot= and PrivateUsersOwnership=chown exclude each other");
});
