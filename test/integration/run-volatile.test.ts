/** Volatile=: what of a machine is in memory only, seen from inside, and the tree afterwards. */
import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { MERGED_PROBE, mergedTree } from "../lib/merged-tree.ts";
import { runNspawn } from "../lib/nspawn.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const COMMAND = MERGED_PROBE;

function ownTree(root: BerthRoot): Promise<string> {
  return mergedTree(join(root.machines, "own"));
}

const USERS = [
  ["in a user namespace", []],
  ["without one", ["--private-users=no"]],
  ["as its tree's owner", ["--private-users=yes"]],
] as const;

const QUESTIONS = interview({
  rootMount: ["mounts"],
  top: ["ls", "/"],
  root: ["write", "/new", "x"],
  etc: ["write", "/etc/new", "x"],
  var: ["write", "/var/new", "x"],
  usr: ["write", "/usr/new", "x"],
  kept: ["cat", "/opt/kept"],
  varKept: ["cat", "/var/kept"],
  owner: ["stat", "/new"],
  varOwner: ["stat", "/var"],
  rootOwner: ["stat", "/"],
  device: ["mknod", "/var/disk", "c", "1", "3"],
  opened: ["open-rw", "/var/disk"],
});
const words = [COMMAND, ...QUESTIONS.command.slice(1)];
type Answers = ReturnType<typeof QUESTIONS.answers>;

/** What holds in each mode of what the tree has, and of what can be written. */
const MODES = {
  yes: { errors: { root: undefined, etc: undefined, var: undefined, usr: "EROFS", kept: "ENOENT", varKept: "ENOENT" } },
  state: { errors: { root: "EROFS", etc: "EROFS", var: undefined, usr: "EROFS", kept: undefined, varKept: "ENOENT" } },
  overlay: {
    errors: { root: undefined, etc: undefined, var: undefined, usr: undefined, kept: undefined, varKept: undefined },
  },
} as const;
const ASKED = ["root", "etc", "var", "usr", "kept", "varKept"] as const;
const TYPES = { yes: "tmpfs", state: null, overlay: "overlay" } as const;

function rootType(answers: Answers): string | undefined {
  return / \/ \/ .* - (\S+) /.exec(answers.text("rootMount"))?.[1];
}

describe.each(USERS)("%s", (_, users) => {
  test.each(["yes", "state", "overlay"] as const)(
    "Volatile=%s, --volatile=: what can be written, what is there, nothing of it afterwards",
    async (mode) => {
      await using root = berthRoot();
      const tree = await ownTree(root);
      if (users[0] === "--private-users=yes") chownAll(tree);
      const before = manifest(tree);
      root.settings("own", `[Files]\nVolatile=${mode}`);
      const fromFile = QUESTIONS.answers((await root.run(tree, ["-q", ...users], words)).stdout);
      const option = mode === "yes" ? "--volatile" : `--volatile=${mode}`;
      const typed = QUESTIONS.answers((await root.run(tree, ["-q", "--settings=no", ...users, option], words)).stdout);
      for (const answers of [fromFile, typed]) {
        expect(answers.errors(ASKED)).toEqual(MODES[mode].errors);
        if (TYPES[mode] !== null) expect(rootType(answers)).toBe(TYPES[mode]);
        for (const path of ["rootOwner", "varOwner"] as const)
          expect(answers.line(path), path).toMatchObject({ uid: 0, gid: 0, mode: 0o755 });
        if (mode !== "state") expect(answers.line("owner")).toMatchObject({ uid: 0, gid: 0 });
        // A device that was made must not open: nothing on the machine's root is a way to the host's.
        expect(answers.line("device").error === undefined ? answers.line("opened").error : "EACCES").toBe("EACCES");
      }
      expect(manifest(tree)).toEqual(before);
    },
  );
});

/** As in a tree that systemd-nspawn chowned. */
function chownAll(tree: string): void {
  spawnSync("chown", ["-Rh", "655360:655360", tree]);
}

test("systemd-nspawn makes the same of Volatile=", async (ctx) => {
  needsHere(ctx, "systemd-nspawn", "tool:unshare");
  await using root = berthRoot();
  const tree = await ownTree(root);
  const settings = ["yes", "state", "overlay"].map(
    (mode) =>
      `[Exec]\nBoot=no\nPrivateUsers=no\nTimezone=off\nParameters=${words.join(" ")}\n[Network]\nPrivate=yes\n[Files]\nVolatile=${mode}\n`,
  );
  const theirs = await runNspawn(join(root.path, "nspawn"), tree, settings);
  const file = join(root.etc, "machines/own.nspawn");
  for (const [index, text] of settings.entries()) {
    writeFileSync(file, text, { mode: 0o644 });
    const ours = await root.run(tree, ["-q"], []);
    expect(rootSeen(ours.stdout), text).toEqual(rootSeen(theirs[index]?.stdout ?? ""));
  }
});

/** What nspawn makes in every root is left out, as well as what it does not. */
function rootSeen(stdout: string): unknown {
  const answers = QUESTIONS.answers(stdout);
  const names = (answers.line("top")["names"] as string[]).filter((name) => !["tmp", "lib", "lib64"].includes(name));
  const owners = (["rootOwner", "varOwner"] as const).map((path) => {
    const { uid, gid, mode } = answers.line(path);
    return [uid, gid, mode];
  });
  return { errors: answers.errors(ASKED), names: names.toSorted(), owners };
}

test("Volatile=yes: /bin, /lib and the like are links where the tree has links into /usr, or nothing", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  mkdirSync(join(tree, "usr/lib/odd"));
  symlinkSync("/etc", join(tree, "lib32"));
  symlinkSync("../../../../usr/lib/odd", join(tree, "lib64"));
  const talk = interview({
    bin: ["stat", "/bin"],
    lib: ["stat", "/lib"],
    lib32: ["stat", "/lib32"],
    lib64: ["stat", "/lib64"],
  });
  const { stdout } = await root.run(tree, ["--volatile"], [COMMAND, ...talk.command.slice(1)]);
  const answers = talk.answers(stdout);
  expect(answers.line("bin")["target"]).toBe("usr/bin");
  expect(answers.line("lib")["target"]).toBe("usr/lib");
  expect(answers.line("lib32").error).toBe("ENOENT");
  expect(answers.line("lib64")["target"]).toBe("usr/lib/odd");
});

test("Volatile=yes of a tree whose programs are not in /usr is refused, with another way", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  mkdirSync(join(tree, "bin"));
  const refused = await root.run(tree, ["--volatile"], probe("cwd"));
  expect(refused).toMatchObject({ status: 125, stdout: "" });
  expect(refused.stderr).toContain("has programs in a /bin of its own, which Volatile=yes would leave out");
  expect(refused.stderr).toContain("hint: Volatile=overlay keeps changes of any tree in memory");
  expect((await root.run(tree, ["--volatile=overlay"], probe("cwd"))).status).toBe(0);
});

test("Volatile=yes of a tree without a /usr says which step found none", async () => {
  await using root = berthRoot();
  const tree = await probeTree({ at: join(root.machines, "own") });
  rmSync(join(tree, "usr"), { recursive: true });
  const { status, stderr } = await root.run(tree, ["--volatile"], probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toMatch(/copy mount \/usr of .*: openat2 .*ENOENT/);
});

test("Volatile=yes follows no /usr out of the tree", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  renameSync(join(tree, "usr"), join(tree, "real"));
  const outside = root.directory("outside");
  writeFileSync(join(outside, "secret"), "");
  symlinkSync(outside, join(tree, "usr"));
  const { status, stdout } = await root.run(tree, ["--volatile"], ["/usr/bin/probe", "ls", "/usr"]);
  expect([status, stdout]).toEqual([125, ""]);
});

test("Volatile= with Ephemeral= has no layer on disk but with Volatile=state, whose mount points are made there", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  rmdirSync(join(tree, "tmp"));
  const before = manifest(tree);
  for (const mode of ["yes", "overlay", "state"]) {
    await using child = root.start(
      "run",
      "-D",
      tree,
      "-M",
      "m",
      "-x",
      `--volatile=${mode}`,
      "--console=read-only",
      "--",
      COMMAND,
      "init",
      "--term",
    );
    await child.until(/^up/m);
    const { layer } = await root.recordWhen("m");
    expect(layer !== null, mode).toBe(mode === "state");
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
    expect(manifest(tree), mode).toEqual(before);
  }
});

test("Volatile= and ReadOnly= exclude each other, as do Volatile= and a chown of the tree", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const both = await root.run(tree, ["--volatile", "--read-only"], [COMMAND, "cwd"]);
  expect(both.status).toBe(2);
  expect(both.stderr).toContain("Volatile=yes and ReadOnly=yes exclude each other");
  for (const mode of ["yes", "state", "overlay"]) {
    const chown = await root.run(tree, [`--volatile=${mode}`, "--private-users-ownership=chown"], [COMMAND, "cwd"]);
    expect(chown.status, mode).toBe(125);
    expect(chown.stderr, mode).toContain("a volatile machine would change the owners in");
  }
});

describe("--volatile, users and commands that join", () => {
  test("a user is known by number only, there being no /etc/passwd", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/bin/sh\njo:x:1000:1000::/home/jo:/bin/sh\n");
    const named = await root.run(tree, ["--volatile", "-u", "jo"], [COMMAND, "ids"]);
    expect(named.status).toBe(2);
    expect(named.stderr).toContain('with Volatile=yes there is no /etc/passwd that says who "jo" is');
    const numbered = await root.run(tree, ["--volatile", "-u", "1000"], [COMMAND, "ids", "--", "env"]);
    expect(parseProbe(numbered.stdout, "ids")).toMatchObject({ euid: 1000 });
    expect(numbered.stdout).toContain('"HOME":"/"');
    const kept = await root.run(tree, ["--volatile=overlay", "-u", "jo"], [COMMAND, "ids"]);
    expect(parseProbe(kept.stdout, "ids")).toMatchObject({ euid: 1000 });
    await using child = root.start(
      "run",
      "-D",
      tree,
      "-M",
      "m",
      "--volatile",
      "--console=read-only",
      "--",
      COMMAND,
      "init",
      "--term",
    );
    await child.until(/^up/m);
    await root.recordWhen("m");
    const joined = await root.berth("exec", "-u", "jo", "m", "--", COMMAND, "ids");
    expect(joined.status).not.toBe(0);
    expect(joined.stderr).toContain("no /etc/passwd");
    expect((await root.berth("exec", "m", "--", COMMAND, "write", "/etc/new", "x")).status).toBe(0);
    child.kill("SIGTERM");
    await child.end;
  });

  test("binds are made in memory", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const before = manifest(tree);
    const file = join(root.directory("data"), "file");
    writeFileSync(file, "of the host");
    const { stdout } = await root.run(
      tree,
      ["--volatile", `--bind-ro=${file}:/new/file`],
      [COMMAND, "cat", "/new/file"],
    );
    expect(stdout).toBe("of the host");
    expect(manifest(tree)).toEqual(before);
  });

  test("the machine's id is its tree's, but for Volatile=yes, which sees no /etc of the tree", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const id = "0123456789abcdef0123456789abcdef";
    writeFileSync(join(tree, "etc/machine-id"), `${id}\n`);
    for (const mode of ["yes", "state", "overlay"]) {
      const { stdout } = await root.run(tree, [`--volatile=${mode}`], [COMMAND, "cat", "/run/host/container-uuid"]);
      expect(stdout.trim().replaceAll("-", "") === id, mode).toBe(mode !== "yes");
    }
  });
});
