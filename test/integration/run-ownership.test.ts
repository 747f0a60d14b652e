/** PrivateUsersOwnership= and PrivateUsers=: which owners the tree has on disk, and which it has inside. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, linkSync, lstatSync, mkdirSync, openSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { closeQuietly, O_NOFOLLOW } from "../../src/sys/files.ts";
import { getAttribute, listAttributes, setAttribute } from "../../src/sys/owners.ts";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { nspawn } from "../lib/nspawn.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  await probeTree();
});

/** Bases of ranges that the tests use: two to pick from, two that only settings name. */
const CHOWNED = 524288 + 4321 * 65536;
const NAMED = 1900019712;
const BUSY = 0xfffe0000;
const NOBODY = 65534;

/** A tree of one's own whose owners are of the block from `base` on. */
async function treeOf(root: BerthRoot, base: number): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, "m") });
  if (base !== 0)
    for (const path of ["", "probe", "root", "etc", "etc/os-release"]) chownSync(join(tree, path), base, base);
  return tree;
}

function owner(path: string): string {
  const { uid, gid } = lstatSync(path);
  return `${uid}:${gid}`;
}

describe.each([
  ["0 on", 0],
  ["a range", CHOWNED],
])("PrivateUsers= and PrivateUsersOwnership= with owners from %s on disk", (_, disk) => {
  const users = ["no", "yes", "identity", "pick", `${NAMED}`, `${NAMED}:1000`, `${NAMED}:131072`, `${CHOWNED}`];
  test.each(users.flatMap((each) => ["off", "map", "chown", "auto"].map((way) => [each, way] as const)))(
    "PrivateUsers=%s PrivateUsersOwnership=%s: owners inside and on disk",
    async (mode, way) => {
      await using root = berthRoot();
      const tree = await treeOf(root, disk);
      root.settings("m", `[Exec]\nPrivateUsers=${mode}\n[Files]\nPrivateUsersOwnership=${way}`);
      const talk = interview({
        map: ["cat", "/proc/self/uid_map"],
        top: ["stat", "/"],
        probe: ["stat", "/probe"],
        write: ["write", "/root/new", "x"],
        new: ["stat", "/root/new"],
      });
      const { status, stdout, stderr } = await root.run(tree, ["-M", "m"], talk.command);

      const size = Number(/:(\d+)$/.exec(mode)?.[1] ?? 65536);
      const refused =
        (mode === "no" && disk !== 0) || (way === "chown" && size !== 65536 && mode !== "no" && `${disk}` !== mode);
      if (refused) {
        expect([status, stdout]).toEqual([125, ""]);
        expect(stderr).toMatch(mode === "no" ? /chowned to the range/ : /can't be changed to the range/);
        expect(owner(join(tree, "probe"))).toBe(`${disk}:${disk}`);
        return;
      }
      const answers = talk.answers(stdout);
      const [, base = -1, count] = answers.text("map").trim().split(/\s+/).map(Number);
      if (mode !== "no") expect(count).toBe(size);
      if (mode === "yes") expect(base).toBe(disk);
      if (mode === "pick" && disk !== 0) expect(base).toBe(disk);
      if (mode === "pick" && disk === 0) expect(base).toBeGreaterThanOrEqual(524288);

      const foreign = way === "off" && mode !== "no" && base !== disk;
      const inside = foreign ? (disk >= base && disk < base + size ? disk - base : NOBODY) : 0;
      expect(answers.line("top")).toMatchObject({ uid: inside, gid: inside });
      expect(answers.line("probe")).toMatchObject({ uid: inside, gid: inside });
      const after = way === "chown" && mode !== "no" ? base : disk;
      expect(owner(tree)).toBe(`${after}:${after}`);
      expect(owner(join(tree, "probe"))).toBe(`${after}:${after}`);
      if (foreign) {
        expect(answers.line("write").error).toBe("EACCES");
        return;
      }
      expect(answers.line("new")).toMatchObject({ uid: 0, gid: 0 });
      expect(owner(join(tree, "root/new"))).toBe(`${after}:${after}`);
    },
  );
});

/** Opens without opening: for attributes of any file. */
function withFd<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 0o10000000 | O_NOFOLLOW);
  try {
    return use(fd);
  } finally {
    closeQuietly(fd);
  }
}

/** An ACL with one named user and one named group, as linux/posix_acl_xattr.h has it. */
function acl(id: number): Buffer {
  const entries = [
    [0x01, 7, 0xffffffff],
    [0x02, 6, id],
    [0x04, 5, 0xffffffff],
    [0x08, 4, id],
    [0x10, 7, 0xffffffff],
    [0x20, 5, 0xffffffff],
  ] as const;
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  entries.forEach(([tag, permissions, of], index) => {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(of >>> 0, 8 + index * 8);
  });
  return bytes;
}

/** CAP_NET_RAW, permitted and effective: revision 2, or 3 for the root of a user namespace. */
function capabilities(rootId: number): Buffer {
  const words = [rootId === 0 ? 0x02000001 : 0x03000001, 1 << 13, 0, 0, 0, ...(rootId === 0 ? [] : [rootId])];
  return Buffer.from(Uint32Array.from(words).buffer);
}

const attribute = (path: string, name: string): string | undefined =>
  withFd(path, (fd) => getAttribute(fd, name)?.toString("hex"));

test("PrivateUsersOwnership=chown: owners, groups, set-user-ID bits, ACLs and capabilities move, nothing outside does", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const outside = join(root.directory("outside"), "file");
  writeFileSync(outside, "");
  chownSync(outside, 1000, 1000);
  const at = (name: string): string => join(tree, "root", name);
  for (const name of ["plain", "setuid", "setgid", "capable", "acl"]) {
    writeFileSync(at(name), "");
    chownSync(at(name), 1000, 50);
  }
  chmodSync(at("setuid"), 0o4755);
  chmodSync(at("setgid"), 0o2755);
  chmodSync(at("capable"), 0o755);
  linkSync(at("plain"), at("hard"));
  symlinkSync(outside, at("link"));
  symlinkSync("/", at("top"));
  mkdirSync(at("directory"));
  chmodSync(at("directory"), 0o3777);
  const name = Buffer.concat([Buffer.from(`${at("directory")}/`), Buffer.from([0xff, 0x0a, 0xfe])]);
  writeFileSync(name, "");
  withFd(at("capable"), (fd) => setAttribute(fd, "security.capability", capabilities(0)));
  withFd(at("acl"), (fd) => setAttribute(fd, "system.posix_acl_access", acl(1001)));
  withFd(at("directory"), (fd) => setAttribute(fd, "system.posix_acl_default", acl(1002)));
  const modes = ["plain", "setuid", "setgid", "capable", "acl", "directory"].map((each) => lstatSync(at(each)).mode);

  const check = async (base: number, users: string): Promise<void> => {
    const words = ["-M", "m", `--private-users=${users}`, "--private-users-ownership=chown"];
    const run = await root.run(tree, words, probe("stat", "/root/setuid"));
    expect(run).toMatchObject({ status: 0 });
    expect(run.stdout).toContain('"mode":2541,"uid":1000,"gid":50');
    for (const each of ["plain", "hard", "setuid", "setgid", "capable", "acl"])
      expect([each, owner(at(each))]).toEqual([each, `${base + 1000}:${base + 50}`]);
    for (const each of ["link", "top", "directory", ""]) expect(owner(at(each))).toBe(`${base}:${base}`);
    expect(lstatSync(name).uid).toBe(base);
    expect(owner(tree)).toBe(`${base}:${base}`);
    expect(owner(outside)).toBe("1000:1000");
    expect(
      ["plain", "setuid", "setgid", "capable", "acl", "directory"].map((each) => lstatSync(at(each)).mode),
    ).toEqual(modes);
    expect(attribute(at("capable"), "security.capability")).toBe(capabilities(base).toString("hex"));
    expect(attribute(at("acl"), "system.posix_acl_access")).toBe(acl(base + 1001).toString("hex"));
    expect(attribute(at("directory"), "system.posix_acl_default")).toBe(acl(base + 1002).toString("hex"));
    expect(withFd(at("capable"), listAttributes)).toEqual(["security.capability"]);
  };
  await check(NAMED, `${NAMED}`);
  await check(CHOWNED, `${CHOWNED}`);
  await check(0, "identity");
});

test("--private-users-chown, PrivateUsersChown=yes: the same as PrivateUsersOwnership=chown", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const ids = probe("stat", "/probe");
  const option = await root.run(tree, ["-M", "m", `--private-users=${NAMED}`, "--private-users-chown"], ids);
  expect(option).toMatchObject({ status: 0 });
  expect(owner(join(tree, "probe"))).toBe(`${NAMED}:${NAMED}`);
  root.settings("m", "[Exec]\nPrivateUsers=identity\n[Files]\nPrivateUsersChown=yes");
  expect(await root.run(tree, ["-M", "m"], ids)).toMatchObject({ status: 0 });
  expect(owner(join(tree, "probe"))).toBe("0:0");
});

test("PrivateUsersOwnership=chown: a start that is killed leaves a mark, and the next one goes on", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const files = Array.from({ length: 15_000 }, (_, index) => join(tree, "root", `f${index}`));
  for (const file of files) writeFileSync(file, "", { mode: index(file) % 3 === 0 ? 0o755 : 0o644 });
  for (const file of files) if (index(file) % 3 === 0) chmodSync(file, 0o4755);
  const words = ["-D", tree, "-M", "m", `--private-users=${NAMED}`, "--pipe"];
  const chown = [...words, "--private-users-ownership=chown", "--", ...probe("cwd")];
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await using child = root.start("run", ...chown);
    await poll("the mark", () => (lstatSync(tree).uid >= BUSY ? true : undefined));
    child.kill(signal);
    expect(await child.end).toMatchObject({ stdout: "" });
    expect(lstatSync(tree).uid).toBe(BUSY);
  }
  const other = await root.berth("run", ...words, "--", ...probe("cwd"));
  expect(other).toMatchObject({ status: 125, stdout: "" });
  expect(other.stderr).toMatch(/was interrupted: .*\nhint: --private-users-ownership=chown goes on/);

  expect(await root.berth("run", ...chown)).toMatchObject({ status: 0 });
  const wrong = files.filter((file) => {
    const { uid, gid, mode } = lstatSync(file);
    return uid !== NAMED || gid !== NAMED || (mode & 0o7777) !== (index(file) % 3 === 0 ? 0o4755 : 0o644);
  });
  expect(wrong).toEqual([]);
  expect(owner(tree)).toBe(`${NAMED}:${NAMED}`);
});

function index(file: string): number {
  return Number(/\d+$/.exec(file)?.[0]);
}

test("PrivateUsersOwnership=chown: a tree that is in use, or has something mounted in it, is left as it is", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  await using child = root.start("run", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term"));
  await child.until(/^up/m);
  const words = [`--private-users=${NAMED}`, "--private-users-ownership=chown"];
  const beside = await root.run(tree, ["-M", "n", ...words], probe("cwd"));
  expect(beside).toMatchObject({ status: 125, stdout: "" });
  expect(beside.stderr).toContain("is in use by another machine");
  child.kill("SIGTERM");
  await child.end;

  const mounted = join(tree, "root");
  execFileSync("mount", ["--bind", root.directory("outside"), mounted]);
  try {
    const run = await root.run(tree, ["-M", "m", ...words], probe("cwd"));
    expect(run).toMatchObject({ status: 125, stdout: "" });
    expect(run.stderr).toContain(`${mounted} is mounted below ${tree}`);
  } finally {
    execFileSync("umount", [mounted]);
  }
  expect(owner(tree)).toBe("0:0");
  const ephemeral = await root.run(tree, ["-M", "m", "-x", ...words], probe("cwd"));
  expect(ephemeral.stderr).toContain("an ephemeral machine would change the owners");
});

test("PrivateUsersOwnership=map: a throw-away machine of a chowned tree has right owners, too, and its tree stays", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, CHOWNED);
  const talk = interview({
    probe: ["stat", "/probe"],
    bound: ["stat", "/mnt/os-release"],
    write: ["write", "/root/new", "x"],
    copied: ["write", "/etc/os-release", "x"],
    new: ["stat", "/root/new"],
  });
  const words = ["-M", "m", "-x", `--private-users=${NAMED}`, "--bind-ro=+/etc:/mnt"];
  const answers = talk.answers((await root.run(tree, words, talk.command)).stdout);
  for (const question of ["probe", "bound", "new"] as const)
    expect([question, answers.line(question)["uid"]]).toEqual([question, 0]);
  expect(answers.errors(["write", "copied"])).toEqual({ write: undefined, copied: undefined });
  expect(owner(join(tree, "probe"))).toBe(`${CHOWNED}:${CHOWNED}`);
});

test("PrivateUsers=BASE:SIZE: a range larger than 65536 keeps all ranges that it is of from others", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const first = 524288 + 9000 * 65536;
  const running = ["-x", "-D", tree, "--pipe", "-M", "m", `--private-users=${first + 1000}:131072`];
  await using child = root.start("run", ...running, "--", ...probe("init", "--term"));
  await child.until(/^up/m);
  for (const base of [first, first + 65536, first + 2 * 65536]) {
    const other = await root.run(tree, ["-x", "-M", "n", `--private-users=${base}`], probe("cwd"));
    expect(other).toMatchObject({ status: 125 });
    expect(other.stderr).toContain(`the ids from ${base} to ${base + 65535} are in use`);
  }
  const free = await root.run(tree, ["-x", "-M", "n", `--private-users=${first + 3 * 65536}`], probe("cwd"));
  expect(free).toMatchObject({ status: 0 });
  child.kill("SIGTERM");
  await child.end;
  const after = await root.run(tree, ["-x", "-M", "n", `--private-users=${first + 65536}`], probe("cwd"));
  expect(after).toMatchObject({ status: 0 });
});

test("PrivateUsers=BASE:SIZE: ranges of one id and of a few are enough for a program", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  for (const size of [1, 5, 6, 1000]) {
    const talk = interview({
      map: ["cat", "/proc/self/uid_map"],
      console: ["stat", "/dev/console"],
      nobody: ["stat", "/dev/pts"],
    });
    const run = await root.run(tree, ["-x", "-M", "m", `--private-users=${NAMED}:${size}`], talk.command);
    expect([size, run.status, run.stderr.includes("failed")]).toEqual([size, 0, false]);
    const answers = talk.answers(run.stdout);
    expect(answers.text("map").trim().split(/\s+/).map(Number)).toEqual([0, NAMED, size]);
    expect(answers.line("console")).toMatchObject({ uid: 0, gid: size > 5 ? 5 : 0 });
  }
});

test("PrivateUsersOwnership=auto: what can't be mapped is chowned, which is said, and once only", async () => {
  await using root = berthRoot();
  const lower = await treeOf(root, 0);
  const [upper, work, tree] = ["upper", "work", "merged"].map((name) => root.directory(name));
  if (upper === undefined || work === undefined || tree === undefined) throw new Error("no directories");
  execFileSync("mount", [
    "-t",
    "overlay",
    "-o",
    `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
    "overlay",
    tree,
  ]);
  try {
    const run = () => root.run(tree, ["-M", "m"], probe("stat", "/probe"));
    const first = await run();
    expect(first.stdout).toContain('"uid":0,"gid":0');
    const base = Number(/changing the owners in .*\/merged to ids from (\d+) on/.exec(first.stderr)?.[1]);
    expect(lstatSync(join(tree, "probe")).uid).toBe(base);
    expect(lstatSync(join(lower, "probe")).uid).toBe(0);
    const second = await run();
    expect(second.stdout).toContain('"uid":0,"gid":0');
    expect(second.stderr).not.toContain("changing the owners");
    const map = await root.run(
      tree,
      ["-M", "m", "--private-users=identity", "--private-users-ownership=map"],
      probe("cwd"),
    );
    expect(map).toMatchObject({ status: 125, stdout: "" });
    expect(map.stderr).toMatch(/mount_setattr.*EINVAL[\s\S]*can't be mounted with mapped ids.*=chown/);
  } finally {
    execFileSync("umount", [tree]);
  }
});

test("PrivateUsersOwnership=chown: who swaps directories and links meanwhile leads it to nothing outside", async () => {
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const outside = root.directory("outside");
  const place = join(tree, "root/swapped");
  for (const directory of [outside, place]) {
    mkdirSync(join(directory, "sub"), { recursive: true });
    for (let index = 0; index < 200; index++) writeFileSync(join(directory, "sub", `f${index}`), "");
  }
  const swap = `const { renameSync, symlinkSync, unlinkSync } = require("node:fs");
    const [place, target] = process.argv.slice(1);
    console.log("go");
    for (;;) { renameSync(place, place + "x"); symlinkSync(target, place); unlinkSync(place); renameSync(place + "x", place); }`;
  const swapper = spawn(process.execPath, ["-e", swap, place, outside], { stdio: ["ignore", "pipe", "ignore"] });
  const gone = once(swapper, "exit");
  try {
    await once(swapper.stdout, "data");
    for (const users of [NAMED, "identity", CHOWNED, "identity"]) {
      const words = ["-M", "m", `--private-users=${users}`, "--private-users-ownership=chown"];
      expect(await root.run(tree, words, probe("cwd"))).toMatchObject({ status: 0 });
    }
  } finally {
    swapper.kill("SIGKILL");
    await gone;
  }
  for (const path of ["", "sub", "sub/f0", "sub/f199"]) expect(owner(join(outside, path))).toBe("0:0");
});

test("PrivateUsers=yes, pick: a tree that systemd-nspawn has chowned is taken as it is, and the other way round", async (ctx) => {
  needsHere(ctx, "tool:systemd-nspawn");
  await using root = berthRoot();
  const tree = await treeOf(root, 0);
  const run = (base: number): string => {
    const words = ["-D", tree, "--pipe", `--private-users=${base}`, "--private-users-ownership=chown"];
    return nspawn([...words, ...probe("stat", "/probe")]).stdout;
  };
  expect(run(CHOWNED)).toContain('"uid":0,"gid":0');
  expect(owner(join(tree, "probe"))).toBe(`${CHOWNED}:${CHOWNED}`);
  for (const users of ["yes", "pick"]) {
    const { stdout } = await root.run(
      tree,
      ["-M", "m", `--private-users=${users}`],
      probe("cat", "/proc/self/uid_map"),
    );
    expect(stdout).toMatch(new RegExp(`^ +0 +${CHOWNED} +65536$`, "m"));
  }
  const chown = ["-M", "m", `--private-users=${NAMED}`, "--private-users-chown"];
  expect(await root.run(tree, chown, probe("cwd"))).toMatchObject({ status: 0 });
  expect(run(NAMED)).toContain('"uid":0,"gid":0');
});

test("PrivateUsersOwnership=chown: a Debian tree boots to running, and programs keep what they may", async (ctx) => {
  needsHere(ctx, "tool:mmdebstrap");
  await using root = berthRoot();
  await using _ = { [Symbol.asyncDispose]: async () => void (await root.berth("terminate", "deb")) };
  const tree = join(root.machines, "deb");
  execFileSync("cp", ["-a", "--reflink=auto", await debianTree("bookworm"), tree]);
  root.settings("deb", `[Exec]\nPrivateUsers=${NAMED}\n[Files]\nPrivateUsersOwnership=chown`);
  expect(await root.berth("start", "deb")).toMatchObject({ status: 0 });
  const inside = async (...words: readonly string[]): Promise<string> =>
    (await root.berth("exec", "deb", "--", ...words)).stdout.trim();
  expect(await inside("systemctl", "is-system-running", "--wait")).toBe("running");
  expect(await inside("find", "/", "-xdev", "-nouser", "-o", "-nogroup")).toBe("");
  expect(await inside("stat", "-c", "%A %U:%G", "/usr/bin/passwd", "/usr/bin/chage")).toBe(
    "-rwsr-xr-x root:root\n-rwxr-sr-x root:shadow",
  );
  expect(attribute(join(tree, "usr/bin/ping"), "security.capability")).toBe(capabilities(NAMED).toString("hex"));
  expect(await inside("su", "nobody", "-s", "/bin/sh", "-c", "ping -c1 127.0.0.1 >/dev/null && echo answered")).toBe(
    "answered",
  );
  expect(await root.berth("poweroff", "deb")).toMatchObject({ status: 0 });
}, 240_000);
