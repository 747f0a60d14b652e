/** Machines whose tree is a disk image: what they have of it, seen from inside, and that nothing of it is left. */
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BerthError } from "../../src/errors.ts";
import { layoutOf } from "../../src/host/disk-image/layout.ts";
import { readDisk } from "../../src/host/disk-image/read-table.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { DISK_TOOLS, type DiskFileSystem, makeDisk, makeFileSystem, makeTable } from "../lib/disk-images.ts";
import { toolsOf } from "../lib/file-systems.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { generator } from "../lib/random.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { debianTree } from "../lib/trees.ts";

const FILE_SYSTEMS = ["xfs", "btrfs", "squashfs", "erofs"] as const;
const ready = needs("root", "userns", "cgroup2", "cc", ...DISK_TOOLS, ...FILE_SYSTEMS.flatMap(toolsOf));
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;
/** Bytes of a GPT: its guard, its head, and 128 partitions. */
const TABLE = 34 * 512;
const ROUNDS = 25;
const DEBIAN_SIZE = 600 * MIB;
const SLEEP = probe("hostname", "--", "sleep", "1000000");
const ROOT_SIZE = 32 * MIB;
const HOME_SIZE = 16 * MIB;
/** The least there is of XFS; with holes. */
const LARGE = 320 * MIB;

const USERS = [
  ["in a user namespace", []],
  ["without one", ["--private-users=no"]],
] as const;

/** A tree with the mount points that a root that is never written to has to have. */
async function ownTree(root: BerthRoot, init = false): Promise<string> {
  const tree = await probeTree({ at: join(root.path, "tree"), init });
  for (const directory of ["home", "efi", "srv", "opt"]) mkdirSync(join(tree, directory));
  writeFileSync(join(tree, "opt/kept"), "of the image\n");
  writeFileSync(join(tree, "etc/machine-id"), "");
  return tree;
}

/** A GPT with a root and a home. */
async function disk(root: BerthRoot, name = "web.raw", init = false): Promise<string> {
  const tree = await ownTree(root, init);
  const homes = root.directory("homes");
  mkdirSync(join(homes, "user"), { recursive: true });
  const image = join(root.machines, name);
  makeDisk(image, {
    parts: [
      { type: "swap", size: 2 * MIB },
      { type: "home", size: HOME_SIZE, fs: "ext4", from: homes },
      { type: "root", size: ROOT_SIZE, fs: "ext4", from: tree },
    ],
  });
  return image;
}

const QUESTIONS = interview({
  mounts: ["mounts"],
  kept: ["cat", "/opt/kept"],
  root: ["write", "/opt/new", "x"],
  home: ["write", "/home/user/new", "x"],
  owner: ["stat", "/opt/kept"],
  device: ["mknod", "/opt/disk", "c", "1", "3"],
  opened: ["open-rw", "/opt/disk"],
});
const AGAIN = interview({ root: ["cat", "/opt/new"], home: ["cat", "/home/user/new"] });

function mountOn(mounts: string, point: string): string | undefined {
  return mounts.split("\n").find((line) => line.split(" ")[4] === point);
}

describe.each(USERS)("%s", (_, users) => {
  test("--image=: its partitions are mounted, and what is changed in them is kept", async () => {
    await using root = berthRoot();
    const image = await disk(root);
    const run = (command: readonly string[], ...more: readonly string[]) =>
      root.spawn([BERTH, "run", "--pipe", "-q", `--image=${image}`, ...users, ...more, "--", ...command]).end;
    const first = await run(QUESTIONS.command);
    const answers = QUESTIONS.answers(first.stdout);
    expect(answers.errors(["kept", "root", "home"])).toEqual({});
    expect(mountOn(answers.text("mounts"), "/")).toMatch(/ \/ \/ [^ ]*nodev.* - ext4 \/dev\/loop/);
    expect(mountOn(answers.text("mounts"), "/home")).toMatch(/ \/ \/home .* - ext4 /);
    expect(answers.line("owner")).toMatchObject({ uid: 0, gid: 0 });
    expect(answers.line("opened").error).toBe(answers.line("device").error === undefined ? "EACCES" : "ENOENT");
    const kept = AGAIN.answers((await run(AGAIN.command)).stdout);
    expect([kept.text("root"), kept.text("home")]).toEqual(["x", "x"]);

    const thrownAway = interview({ write: ["write", "/opt/more", "x"], home: ["write", "/home/user/more", "x"] });
    expect(thrownAway.answers((await run(thrownAway.command, "-x")).stdout).errors(["write", "home"])).toEqual({});
    const inMemory = await run(thrownAway.command, "--volatile=overlay");
    expect(thrownAway.answers(inMemory.stdout).errors(["write", "home"])).toEqual({});
    const locked = await run(thrownAway.command, "--read-only");
    expect(thrownAway.answers(locked.stdout).errors(["write", "home"])).toEqual({ write: "EROFS", home: "EROFS" });
    const gone = interview({ root: ["cat", "/opt/more"], home: ["cat", "/home/user/more"] });
    expect(gone.answers((await run(gone.command)).stdout).errors(["root", "home"])).toEqual({
      root: "ENOENT",
      home: "ENOENT",
    });
  });

  test.each<[string, DiskFileSystem, boolean]>([
    ["ext4", "ext4", true],
    ["XFS", "xfs", true],
    ["Btrfs", "btrfs", true],
    ["SquashFS", "squashfs", false],
    ["EROFS", "erofs", false],
  ])("--image=: one file system alone, %s", async (_name, fs, writable) => {
    await using root = berthRoot();
    const image = join(root.path, "bare.img");
    makeFileSystem(fs, image, { from: await ownTree(root), size: LARGE });
    const run = (...more: readonly string[]) =>
      root.spawn([
        BERTH,
        "run",
        "--pipe",
        "-q",
        "-i",
        image,
        "-M",
        "bare",
        ...users,
        ...more,
        "--",
        ...QUESTIONS.command,
      ]).end;
    const { stdout, stderr } = await run();
    const answers = QUESTIONS.answers(stdout);
    expect(answers.errors(["kept", "root"]), stderr).toEqual(writable ? {} : { root: "EROFS" });
    expect(mountOn(answers.text("mounts"), "/")).toContain(` - ${fs} `);
    const thrownAway = await run("-x");
    expect(QUESTIONS.answers(thrownAway.stdout).errors(["kept", "root"]), thrownAway.stderr).toEqual({});
  });
});

describe("machines/NAME.raw", () => {
  test("is a machine of the daemon's: start, exec as one of its users, power off, and start again", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root, true);
    writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nworker:x:1234:1234::/:/bin/sh\n");
    makeDisk(join(root.machines, "web.raw"), { parts: [{ type: "root", size: ROOT_SIZE, fs: "ext4", from: tree }] });
    const ok = async (...words: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await root.berth(...words);
      expect(status, stderr).toBe(0);
      return stdout;
    };
    root.settings("web", "[Exec]\nKillSignal=SIGRTMIN+3");
    await ok("start", "web");
    expect(parseProbe(await ok("exec", "--user=worker", "web", "--", ...probe("ids")), "ids")).toMatchObject({
      uid: 1234,
      gid: 1234,
    });
    await ok("exec", "web", "--", ...probe("write", "/opt/new", "x"));
    expect(await ok("list", "--all")).toMatch(/^web +container +berth +running /m);
    expect(JSON.parse(await ok("list", "--json"))).toMatchObject([
      { name: "web", image: join(root.machines, "web.raw") },
    ]);
    expect(await ok("image-status", "web")).toContain("berth test probe");
    expect((await root.berth("remove", "web")).stderr).toContain("image web is in use: machine web runs from it");
    await ok("poweroff", "web");
    await ok("wait", "web", "stopped");
    await ok("start", "web");
    expect(await ok("exec", "web", "--", ...probe("cat", "/opt/new"))).toBe("x");
    await ok("poweroff", "web");
    await ok("wait", "web", "stopped");

    const copy = (await ok("start", "--ephemeral", "web")).trim();
    await ok("exec", copy, "--", ...probe("write", "/opt/more", "x"));
    await ok("poweroff", copy);
    await ok("wait", copy, "stopped");

    await ok("read-only", "web", "yes");
    const locked = await root.spawn([BERTH, "run", "--pipe", "-q", "-M", "web", "--", ...probe("write", "/opt/a", "x")])
      .end;
    expect(parseProbe(locked.stdout, "write")).toMatchObject({ error: "EROFS" });
    await ok("remove", "web");
    expect(existsSync(join(root.machines, "web.raw"))).toBe(false);
  });

  test("--ephemeral: its users are looked up in the image, and in what the machine has changed", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    writeFileSync(join(tree, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nworker:x:1234:1234::/:/bin/sh\n");
    const image = join(root.machines, "web.raw");
    makeDisk(image, { parts: [{ type: "root", size: ROOT_SIZE, fs: "ext4", from: tree }] });
    await using machine = root.start("run", "-q", "-x", "-i", image, "-M", "web", "--", ...SLEEP);
    await machine.until(/hostname/);
    const ids = async (user: string) =>
      parseProbe((await root.berth("exec", `--user=${user}`, "web", "--", ...probe("ids"))).stdout, "ids");
    expect(await ids("worker")).toMatchObject({ uid: 1234 });
    await root.berth("exec", "web", "--", ...probe("write", "/etc/passwd", "late:x:77:77::/:/bin/sh"));
    expect(await ids("late")).toMatchObject({ uid: 77 });
    machine.kill("SIGTERM");
    await machine.end;
  });

  test("a Debian boots from one, all its units start, and it reboots", async (ctx) => {
    needsHere(ctx, "tool:mmdebstrap");
    await using root = berthRoot();
    const image = join(root.machines, "deb.raw");
    makeDisk(image, { parts: [{ type: "root", size: DEBIAN_SIZE, fs: "ext4", from: await debianTree("bookworm") }] });
    const ok = async (...words: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await root.berth(...words);
      expect(status, stderr).toBe(0);
      return stdout;
    };
    await ok("start", "deb");
    expect(await ok("exec", "deb", "--", "systemctl", "is-system-running", "--wait")).toBe("running\n");
    await ok("exec", "deb", "--", "sh", "-c", "echo kept >/root/kept");
    await ok("reboot", "deb");
    await ok("wait", "deb", "running");
    expect(await ok("exec", "deb", "--", "cat", "/root/kept")).toBe("kept\n");
    expect(await ok("exec", "deb", "--", "findmnt", "-no", "FSTYPE", "/")).toBe("ext4\n");
    await ok("poweroff", "deb");
    await ok("wait", "deb", "stopped");
  });

  test("is written to by one machine at a time, and read by many", async () => {
    await using root = berthRoot();
    const image = await disk(root);
    const start = (name: string, ...more: readonly string[]) =>
      root.start("run", "-q", "-i", image, "-M", name, ...more, "--", ...SLEEP);
    const refused = async (name: string, ...more: readonly string[]): Promise<string> =>
      (await start(name, ...more).end).stderr;
    {
      await using one = start("one");
      await one.until(/hostname/);
      expect(await refused("two")).toContain(`${image} is in use by another machine`);
      expect(await refused("two", "-x")).toContain(`${image} is in use by another machine that may change it`);
      expect(await refused("two", "-x")).toContain("hint: power that one off first");
      const { leader, keeper } = await root.recordWhen("one");
      one.kill("SIGKILL");
      await one.end;
      await poll("the end of all of it", () => (isRunning(leader.pid) || isRunning(keeper.pid) ? undefined : true));
    }
    await using one = start("one", "--read-only");
    await using two = start("two", "--read-only");
    await using three = start("three", "-x");
    for (const machine of [one, two, three]) await machine.until(/hostname/);
    expect(await refused("four")).toContain(`${image} is in use by another machine`);
    for (const machine of [one, two, three]) machine.kill("SIGTERM");
    for (const machine of [one, two, three]) await machine.end;
  });
});

describe("an image that can't be used is refused, with the reason, and nothing is left:", () => {
  const refusal = async (root: BerthRoot, image: string, ...more: readonly string[]): Promise<string> => {
    const { status, stderr } = await root.berth("run", "-q", "-i", image, ...more, "--", ...probe("ids"));
    expect(status).toBe(125);
    return stderr;
  };

  test("what is no disk", async () => {
    await using root = berthRoot();
    const file = join(root.path, "file");
    expect(await refusal(root, file)).toContain(`${file}: no such disk image`);
    expect(await refusal(root, root.machines)).toContain("neither a file nor a block device");
    writeFileSync(file, "");
    expect(await refusal(root, file)).toContain("is empty");
    writeFileSync(file, Buffer.alloc(MIB));
    expect(await refusal(root, file)).toContain("it has no file system that is known");
    writeFileSync(file, `QFI\u{fb}${"x".repeat(2000)}`, "latin1");
    expect(await refusal(root, file)).toContain("is a disk of a virtual machine (qcow2)");
    expect((await root.berth("run", "-D", file, "/bin/true")).stderr).toContain("-i takes a disk image");
    expect((await root.berth("run", "-D", "/", "-i", file, "/bin/true")).status).toBe(2);
  });

  test("one of /usr alone", async () => {
    await using root = berthRoot();
    const image = join(root.path, "usr.raw");
    makeTable(image, "gpt", [{ type: "usr", start: 1, size: 2 }]);
    expect(await refusal(root, image)).toContain(
      "it has a /usr partition (1) and no root\nhint: an image of /usr alone",
    );
  });

  test("any, where the kernel has no loop device for it", async (ctx) => {
    needsHere(ctx, "tool:strace");
    await using root = berthRoot();
    const image = await disk(root);
    for (const [error, reason] of [
      ["ENOSPC", "no loop device is left (ENOSPC)\nhint: losetup -a shows what has them"],
      ["ENODEV", "this kernel has no loop devices (ENODEV)\nhint: loop devices are needed"],
    ] as const) {
      const inject = ["-f", "-o", "/dev/null", "-P", "/dev/loop-control", "-e", `inject=ioctl:error=${error}`];
      const { status, stderr } = await root.spawn(["strace", ...inject, BERTH, "run", "-i", image, "/bin/true"]).end;
      expect(status).toBe(125);
      expect(stderr).toContain(`cannot open the disk image ${image}: ${reason}`);
    }
  });

  test("one that has been cut, or overwritten", async () => {
    await using root = berthRoot();
    const image = await disk(root);
    const whole = readFileSync(image);
    truncateSync(image, 30 * MIB);
    expect(await refusal(root, image)).toMatch(/partition table|beyond the end of the image/);
    // The root's superblock says nothing that could be true.
    const spoilt = Buffer.from(whole);
    const superblock = (1 + 2 + 16) * MIB + 1024;
    spoilt.fill(0xff, superblock + 0x20, superblock + 0x30);
    writeFileSync(image, spoilt);
    expect(await refusal(root, image)).toContain(`cannot mount partition 3 (ext4) of ${image}: it is damaged`);
    const bare = join(root.path, "bare");
    makeFileSystem("xfs", bare, { from: await probeTree(), size: LARGE });
    truncateSync(bare, LARGE / 2);
    expect(await refusal(root, bare)).toContain(`cannot mount the xfs in ${bare}`);
  });

  test("tables that lie", async () => {
    await using root = berthRoot();
    const image = join(root.path, "lies.raw");
    const size = 2;
    makeTable(
      image,
      "gpt",
      Array.from({ length: 120 }, (_, n) => ({ type: "root", start: 1 + n * size, size, label: `\u{1b}[31m${n}` })),
    );
    expect(await refusal(root, image)).toContain("its root partition (120) has no file system that is known");
    makeTable(image, "gpt", [
      { type: "linux", start: 1, size },
      { type: "linux", start: 5, size },
    ]);
    expect(await refusal(root, image)).toContain("several others that could be it: 1, 2");
    makeTable(image, "dos", [{ type: "82", start: 1, size }]);
    expect(await refusal(root, image)).toContain("it has no partition of type 83");
  });

  test("tables with bytes that nobody thought of are read, or refused in a sentence", async () => {
    await using root = berthRoot();
    const image = await disk(root);
    const whole = readFileSync(image);
    const below = generator(7);
    for (let round = 0; round < ROUNDS; round++) {
      const spoilt = Buffer.from(whole);
      for (let bytes = 1 + below(40); bytes > 0; bytes--) spoilt[below(TABLE)] = below(256);
      writeFileSync(image, spoilt);
      try {
        const { disk: read, table } = await readDisk(image);
        const { root: part } = layoutOf(read, table);
        expect(part.offset + part.size).toBeLessThanOrEqual(whole.length);
      } catch (error) {
        expect(error, `round ${round}`).toBeInstanceOf(BerthError);
      }
    }
  });

  test("encrypted ones, and such that were to be verified", async () => {
    await using root = berthRoot();
    const image = join(root.path, "secret.raw");
    const header = Buffer.alloc(4 * MIB);
    header.write("LUKS\u{ba}\u{be}\0\u{1}", 0, "latin1");
    header.write("aes", 8);
    header.write("xts-plain64", 40);
    header.write("sha256", 72);
    header.write("0f4b3a1e-5a6f-4c0f-9f7e-0123456789ab", 168);
    writeFileSync(image, header);
    expect(await refusal(root, image)).toContain("it is encrypted (crypto_LUKS)");
    writeFileSync(join(root.path, "secret.roothash"), "00");
    expect(await refusal(root, image)).toContain("asks for dm-verity");
  });
});
