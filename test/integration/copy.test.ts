/** `berth copy-to` and `berth copy-from`: files that go into and come out of running machines. */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { COPIER_VERB } from "../../src/copy/protocol.ts";
import { getAttribute, setAttribute } from "../../src/sys/owners.ts";
import {
  buildBerth,
  caught,
  childrenOf,
  type End,
  isRunning,
  poll,
  type Running,
  signalIfThere,
} from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type LiveMachine, liveMachine, USERS } from "../lib/live-machine.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { silentFileSystem } from "../lib/silent-file-system.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:perl");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

function succeeded({ status, stdout, stderr }: End): string {
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

function failed({ status, stdout, stderr }: End, text: string): void {
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toContain(text);
  expect(stderr).toMatch(/^berth: .*\n(hint: .*\n)?$/);
}

/** Of everything below, with what a copy keeps. */
function listing(directory: string | Buffer): string[] {
  return readdirSync(directory, { encoding: "buffer" })
    .sort(Buffer.compare)
    .flatMap((name) => {
      const path = Buffer.concat([Buffer.from(directory), Buffer.from("/"), name]);
      const stat = lstatSync(path);
      const { uid, gid, mode, mtimeMs } = stat;
      const content = stat.isSymbolicLink() ? readlinkSync(path) : stat.isFile() ? readFileSync(path, "latin1") : "";
      const line = `${name.toString("latin1")} ${uid} ${gid} ${mode.toString(8)} ${mtimeMs} ${content}`;
      return [line, ...(stat.isDirectory() ? listing(path).map((below) => `  ${below}`) : [])];
    });
}

function attributeOf(path: string, name: string): Buffer | null {
  const fd = openSync(path, "r");
  try {
    return getAttribute(fd, name);
  } finally {
    closeSync(fd);
  }
}

function setAttributeOf(path: string, name: string, value: Buffer): void {
  const fd = openSync(path, "r");
  try {
    expect(setAttribute(fd, name, value)).toBe(true);
  } finally {
    closeSync(fd);
  }
}

/** An ACL with one named user beside the three classes: linux/posix_acl_xattr.h. */
function acl(user: number): Buffer {
  const entries = [
    [0x01, 6, 0xffffffff],
    [0x02, 4, user],
    [0x04, 4, 0xffffffff],
    [0x10, 4, 0xffffffff],
    [0x20, 0, 0xffffffff],
  ];
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  entries.forEach(([tag = 0, permissions = 0, id = 0], index) => {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(id, 8 + index * 8);
  });
  return bytes;
}

function hashOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Names of bytes that are no text, a newline, the longest, one that looks like an option. */
const NAMES = [
  Buffer.from([0xff, 0xfe, 0x61]),
  Buffer.from("a\nb"),
  Buffer.from("x".repeat(255)),
  Buffer.from("--force"),
];

/** A directory with everything that a copy keeps. */
function everything(live: LiveMachine): string {
  const directory = live.root.directory("everything");
  mkdirSync(join(directory, "sub/empty"), { recursive: true });
  writeFileSync(join(directory, "file"), "of the host");
  chownSync(join(directory, "file"), 1000, 1001);
  writeFileSync(join(directory, "sub/program"), "#!/bin/sh\n", { mode: 0o755 });
  chmodSync(join(directory, "sub/program"), 0o4755);
  symlinkSync("/etc/shadow", join(directory, "link"));
  symlinkSync("nowhere", join(directory, "sub/broken"));
  for (const name of NAMES) writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), name]), name);
  utimesSync(join(directory, "file"), 1, 1234567890.125);
  chmodSync(join(directory, "sub/empty"), 0o1700);
  utimesSync(join(directory, "sub/empty"), 1, 987654321);
  return directory;
}

describe.each(USERS)("%s", (_, users) => {
  test("a directory becomes the same inside and comes back: names, owners, modes, times, links", async () => {
    await using live = await liveMachine(users);
    const source = everything(live);
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    expect(listing(join(live.tree, "copy")), "the tree on disk has ids from 0").toEqual(listing(source));
    expect(succeeded(await live.inside("stat -c '%u %g' /copy /copy/file; cat /copy/file"))).toBe(
      "0 0\n1000 1001\nof the host",
    );
    const back = join(live.root.path, "back");
    succeeded(await live.berth("copy-from", "m", "/copy", back));
    const expected = listing(source).map((line) => line.replace(" 104755 ", " 100755 "));
    expect(listing(back), "all but set-user-ID bits").toEqual(expected);
  });

  test("extended attributes and ACLs come with it, with their ids; capabilities into the machine only", async () => {
    await using live = await liveMachine(users);
    const source = join(live.root.directory("data"), "file");
    writeFileSync(source, "");
    setAttributeOf(source, "user.note", Buffer.from("kept"));
    setAttributeOf(source, "system.posix_acl_access", acl(1000));
    const capabilities = Buffer.from("0100000200000800000000000000000000000000", "hex");
    setAttributeOf(source, "security.capability", capabilities);
    succeeded(await live.berth("copy-to", "m", source, "/file"));
    const inside = join(live.tree, "file");
    expect(attributeOf(inside, "user.note")?.toString()).toBe("kept");
    expect(attributeOf(inside, "system.posix_acl_access")).toEqual(acl(1000));
    expect(attributeOf(inside, "security.capability")?.subarray(4, 20)).toEqual(capabilities.subarray(4));
    const back = join(live.root.path, "back");
    succeeded(await live.berth("copy-from", "m", "/file", back));
    expect(attributeOf(back, "user.note")?.toString()).toBe("kept");
    expect(attributeOf(back, "system.posix_acl_access")).toEqual(acl(1000));
    expect(attributeOf(back, "security.capability")).toBeNull();
  });

  test("two names of one file stay two names of one file", async () => {
    await using live = await liveMachine(users);
    const source = live.root.directory("data");
    mkdirSync(join(source, "sub"));
    writeFileSync(join(source, "one"), "x");
    linkSync(join(source, "one"), join(source, "sub/two"));
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    succeeded(await live.berth("copy-from", "m", "/copy", join(live.root.path, "back")));
    for (const copy of [join(live.tree, "copy"), join(live.root.path, "back")]) {
      const [one, two] = ["one", "sub/two"].map((name) => lstatSync(join(copy, name)));
      expect(one).toMatchObject({ ino: two?.ino, nlink: 2 });
    }
  });

  test("a directory is merged into one that is there; files that are there are replaced as a whole if that is asked for", async () => {
    await using live = await liveMachine(users);
    const source = live.root.directory("data");
    mkdirSync(join(source, "sub"));
    writeFileSync(join(source, "sub/new"), "new");
    succeeded(
      await live.inside("mkdir -m 711 -p /copy/sub; echo kept >/copy/sub/kept; chmod 700 /copy/sub; chown 5 /copy/sub"),
    );
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    expect(succeeded(await live.inside("cat /copy/sub/new /copy/sub/kept; stat -c '%u %a' /copy/sub"))).toBe(
      "newkept\n5 700\n",
    );
    writeFileSync(join(source, "sub/new"), "newer");
    failed(await live.berth("copy-to", "m", source, "/copy"), 'sub/new": it is there already\nhint: --force replaces');
    expect(readFileSync(join(live.tree, "copy/sub/new"), "utf8")).toBe("new");
    const before = lstatSync(join(live.tree, "copy/sub/new")).ino;
    succeeded(await live.berth("copy-to", "m", source, "/copy", "--force"));
    expect(readFileSync(join(live.tree, "copy/sub/new"), "utf8")).toBe("newer");
    expect(lstatSync(join(live.tree, "copy/sub/new")).ino).not.toBe(before);
    for (const [target, why] of [
      ["/copy/sub/new", "is no directory"],
      ["/copy/none/here", "there is no directory"],
      ["/copy/sub/new/x", "there is no directory"],
    ] as const)
      failed(await live.berth("copy-to", "m", source, target, "--force"), why);
    failed(
      await live.berth("copy-to", "m", join(source, "sub/new"), "/copy", "--force"),
      "there is a directory of that name",
    );
    expect(temporaries(live.tree)).toEqual([]);
  });

  test("the root of the machine can be merged into, and comes out without what the kernel makes up", async () => {
    await using live = await liveMachine(users);
    const source = live.root.directory("data");
    mkdirSync(join(source, "opt"));
    writeFileSync(join(source, "opt/new"), "new");
    succeeded(await live.berth("copy-to", "m", source, "/"));
    expect(succeeded(await live.inside("cat /opt/new"))).toBe("new");
    const back = join(live.root.path, "back");
    succeeded(await live.inside("mkdir /srv; mkfifo /srv/fifo"));
    const end = await live.berth("copy-from", "m", "/etc", join(live.root.path, "etc"));
    expect(succeeded(end)).toBe("");
    await using swamp = live.root.start("copy-from", "m", "/", back, "--quiet");
    await poll("a copy of the tree", () => (existsSync(join(back, "etc/os-release")) ? true : undefined));
    swamp.kill("SIGINT");
    expect((await swamp.end).status).toBe(130);
    expect(temporaries(back)).toEqual([]);
  });

  test("fifos, sockets and devices are left out with a word, and refused alone", async () => {
    await using live = await liveMachine(users);
    const source = live.root.directory("data");
    writeFileSync(join(source, "file"), "");
    execFileSync("mkfifo", [join(source, "fifo")]);
    execFileSync("mknod", [join(source, "null"), "c", "1", "3"]);
    const server = createServer().listen(join(source, "socket"));
    await poll("the socket", () => (existsSync(join(source, "socket")) ? true : undefined));
    const end = await live.berth("copy-to", "m", source, "/copy");
    server.close();
    expect(end).toMatchObject({ status: 0, stdout: "" });
    expect(end.stderr.split("\n").sort()).toEqual([
      "",
      "copy/fifo: a fifo is not copied",
      "copy/null: a device is not copied",
      "copy/socket: a socket is not copied",
    ]);
    expect(readdirSync(join(live.tree, "copy"))).toEqual(["file"]);
    failed(await live.berth("copy-to", "m", join(source, "fifo"), "/fifo"), "it is a fifo");
    failed(await live.berth("copy-from", "m", "/dev/null", join(source, "x")), "it is a device");
  });

  test("a file of the kernel's that has no size is copied by what is in it", async () => {
    await using live = await liveMachine(users);
    const back = join(live.root.path, "status");
    succeeded(await live.berth("copy-from", "m", "/proc/version", back));
    const kernels = await live.berth("copy-from", "m", "/proc", `${back}-proc`);
    expect(kernels).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/it is proc\S*, the kernel's own\nhint: /),
    });
    expect(existsSync(`${back}-proc`)).toBe(false);
    expect(readFileSync(back, "utf8")).toBe(readFileSync("/proc/version", "utf8"));
  });

  test.each([
    ["ephemeral", ["-x"]],
    ["overlay in memory", ["--volatile=overlay"]],
    ["tmpfs", ["--tmpfs=/srv"]],
    ["/var in memory", ["--volatile=state"]],
  ] as const)("into and out of what is no directory of the host: %s", async (_, options) => {
    await using live = await liveMachine([...users, ...options]);
    const source = everything(live);
    const place = options[0].startsWith("--tmpfs") ? "/srv/copy" : "/var/copy";
    succeeded(await live.berth("copy-to", "m", source, place));
    expect(succeeded(await live.inside(`stat -c '%u %g %a' ${place}/file; cat ${place}/file`))).toBe(
      "1000 1001 644\nof the host",
    );
    const back = join(live.root.path, "back");
    succeeded(await live.berth("copy-from", "m", place, back));
    expect(listing(back)).toEqual(listing(source).map((line) => line.replace(" 104755 ", " 100755 ")));
  });
});

/** Of a copy, below a directory of the host. */
function temporaries(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => name.includes(".berth-copy"));
}

describe("much", () => {
  test("a file of 64 MiB, and one of 1 GiB that is nearly all holes: the bytes and the holes are the same", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data");
    writeFileSync(join(source, "big"), randomBytes(64 << 20));
    const sparse = openSync(join(source, "sparse"), "w");
    for (const at of [0, 12345, 300 << 20, (1 << 30) - 70000]) writeSync(sparse, randomBytes(5000), 0, 5000, at);
    ftruncateSync(sparse, 1 << 30);
    closeSync(sparse);
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    const back = join(live.root.path, "back");
    succeeded(await live.berth("copy-from", "m", "/copy", back));
    const { size, blocks } = lstatSync(join(source, "sparse"));
    for (const copy of [join(live.tree, "copy"), back]) {
      expect(hashOf(join(copy, "big"))).toBe(hashOf(join(source, "big")));
      const is = lstatSync(join(copy, "sparse"));
      expect(is.size).toBe(size);
      expect(is.blocks).toBeLessThanOrEqual(blocks + 64);
      execFileSync("cmp", [join(source, "sparse"), join(copy, "sparse")]);
    }
  });

  test("10000 small files, and directories 400 deep", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data");
    for (let number = 0; number < 10_000; number++) writeFileSync(join(source, `${number}`), `${number}`);
    execFileSync("sh", ["-c", "i=0; while [ $i -lt 400 ]; do mkdir d; cd d; i=$((i+1)); done; echo x >end"], {
      cwd: source,
    });
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    expect(succeeded(await live.inside("cd /copy; ls | wc -l; cat 0 1 9999; find . -name end | wc -l"))).toBe(
      "10001\n0199991\n",
    );
    const back = join(live.root.path, "back");
    succeeded(await live.berth("copy-from", "m", "/copy", back));
    expect(execFileSync("diff", ["-r", source, back], { encoding: "utf8" })).toBe("");
    execFileSync("rm", ["-rf", source, back]);
  });

  test("a directory that is its own target is refused", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data", 0o777);
    writeFileSync(join(source, "file"), "x");
    succeeded(await live.berth("bind", "m", source, "/mnt", "--owners=idmap"));
    failed(await live.berth("copy-to", "m", source, "/mnt/sub"), "it would be copied into itself");
    failed(await live.berth("copy-to", "m", source, "/mnt"), "it would be copied into itself");
    expect(readdirSync(source).sort()).toEqual(["file", "sub"]);
  });
});

/** The process that copies for a berth that runs. */
function copierOf(copying: Running): number | undefined {
  return childrenOf(copying.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(COPIER_VERB));
}

/** Files that are mostly not all copied before somebody has seen that some are. */
const MANY = 12_000;

/** The copier, once a part of the copy is there; undefined: all of it was before that was seen. */
async function copierInMidst(copying: Running, copy: string): Promise<number | undefined> {
  let copier: number | undefined;
  await poll("a part of the copy", () => {
    copier ??= copierOf(copying);
    return isOver(copying) || (copier !== undefined && namesIn(copy) >= 100) || undefined;
  });
  return isOver(copying) ? undefined : copier;
}

/** @throws what it says, if it has failed */
function isOver({ child, stdout, stderr }: Running): boolean {
  if (child.exitCode === null && child.signalCode === null) return false;
  if (child.exitCode === 0) return true;
  throw new Error(`it ended (${child.exitCode ?? child.signalCode}): ${stdout}${stderr}`);
}

function namesIn(directory: string): number {
  return existsSync(directory) ? readdirSync(directory).length : 0;
}

describe("what goes wrong", () => {
  test("a full file system is named, and nothing of the file stays", async () => {
    await using live = await liveMachine(["--tmpfs=/small:size=1M"]);
    const source = join(live.root.directory("data"), "big");
    writeFileSync(source, randomBytes(3 << 20));
    failed(
      await live.berth("copy-to", "m", source, "/small/big"),
      "there is no space left for it in machine m (ENOSPC)",
    );
    expect(succeeded(await live.inside("ls -A /small; df --output=used /small | tail -1")).trim()).toBe("0");
  });

  test("a read-only place, a missing source, a machine that does not run", async () => {
    await using live = await liveMachine();
    const source = join(live.root.directory("data"), "file");
    writeFileSync(source, "");
    failed(await live.berth("copy-to", "m", source, "/usr/file"), "is read-only");
    failed(await live.berth("copy-to", "m", "/no/such", "/x"), 'there is no "/no/such" on the host');
    failed(await live.berth("copy-from", "m", "/no/such", "/x"), 'there is no "/no/such" in machine m');
    failed(await live.berth("copy-from", "m", "no/such", "/x"), '"no/such" is no absolute path');
    failed(await live.berth("copy-to", "n", source, "/x"), 'no machine "n" is running');
  });

  test("owners that the machine has no number for are nobody's, and those of nobody on the host, too", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data");
    for (const [name, id] of [
      ["root", 0],
      ["last", 65535],
      ["above", 65536],
      ["far", 4_000_000_000],
    ] as const) {
      writeFileSync(join(source, name), "");
      chownSync(join(source, name), id, id);
    }
    succeeded(await live.berth("copy-to", "m", source, "/copy"));
    expect(succeeded(await live.inside("cd /copy; stat -c '%n %u %g' *"))).toBe(
      "above 65534 65534\nfar 65534 65534\nlast 65535 65535\nroot 0 0\n",
    );
    succeeded(await live.berth("copy-from", "m", "/usr/bin/true", join(source, "true")));
    expect(lstatSync(join(source, "true"))).toMatchObject({ uid: 65534, gid: 65534 });
  });

  test("a copier that is killed leaves nothing of the file, and berth says so", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data");
    for (let number = 0; number < MANY; number++) writeFileSync(join(source, `${number}`), "");
    const copy = join(live.tree, "copy");
    for (const how of ["copier", "berth"] as const)
      await caught(`the kill of the ${how}`, async () => {
        rmSync(copy, { recursive: true, force: true });
        await using copying = live.root.start("copy-to", "m", source, "/copy", "--force");
        const copier = await copierInMidst(copying, copy);
        if (copier === undefined) return false;
        if (how === "copier") signalIfThere(copier, "SIGKILL");
        else copying.kill("SIGKILL");
        const { status, stderr } = await copying.end;
        await poll("the end of the copier", () => (existsSync(`/proc/${copier}`) ? undefined : true));
        if (status === 0) return false;
        if (how === "copier")
          expect([status, stderr]).toEqual([1, "berth: the process that copies was killed by SIGKILL\n"]);
        expect(temporaries(live.tree)).toEqual([]);
        return true;
      });
  });

  test("^C ends it at once, and a copier that does not answer after two seconds", async () => {
    await using live = await liveMachine();
    const source = live.root.directory("data");
    for (let number = 0; number < MANY; number++) writeFileSync(join(source, `${number}`), "");
    const copy = join(live.tree, "copy");
    for (const stopped of [false, true])
      await caught(stopped ? "the end of a copier that is stopped" : "an end at once", async () => {
        rmSync(copy, { recursive: true, force: true });
        await using copying = live.root.start("copy-to", "m", source, "/copy", "--force");
        const copier = await copierInMidst(copying, copy);
        if (copier === undefined) return false;
        if (stopped) signalIfThere(copier, "SIGSTOP");
        const began = performance.now();
        copying.kill("SIGINT");
        const end = await copying.end;
        const took = performance.now() - began;
        if (end.status === 0) return false;
        expect(end).toMatchObject({ status: 130, stdout: "", stderr: "" });
        expect(existsSync(`/proc/${copier}`)).toBe(false);
        expect(temporaries(live.tree)).toEqual([]);
        if (stopped) expect(took).toBeGreaterThan(1900);
        // A copier that is not told takes two seconds each time, a busy machine does not.
        return took < (stopped ? 10_000 : 1900);
      });
  });
});

test("a file system that never answers holds up a copier for good, but not who waits for it", async (ctx) => {
  needsHere(ctx, "file:/dev/fuse");
  await using live = await liveMachine();
  const directory = live.root.directory("silent");
  {
    using silent = await silentFileSystem(directory);
    succeeded(await live.berth("bind", "m", directory, "/mnt"));
    silent.hush();
    await using copying = live.root.start("copy-from", "m", "/mnt", join(live.root.path, "out"));
    await poll("a question", () => (silent.unanswered() > 0 ? true : undefined));
    const copier = await poll("the copier", () => copierOf(copying));
    copying.kill("SIGINT");
    // Within the test's time, while the file system takes for ever.
    expect(await copying.end).toMatchObject({ status: 130, stdout: "", stderr: "" });
    expect(isRunning(copier), "only the end of the file system ends it").toBe(true);
    succeeded(await live.inside("true"));
  }
  succeeded(await live.berth("unbind", "m", "/mnt"));
});

describe("a machine that", () => {
  /** Exchanges two names inside all the while: renameat2(2) with RENAME_EXCHANGE. */
  const EXCHANGE = (one: string, other: string): readonly string[] => [
    ...["exec", "m", "--", "perl", "-e"],
    `my $call = ${process.arch === "arm64" ? 276 : 316}; my ($a, $b) = ("${one}", "${other}"); ` +
      `while (1) { syscall($call, -100, $a, -100, $b, 2) == 0 or die "$!" }`,
  ];

  test("swaps where it is copied to with a link to the host's directories: nothing of the host changes", async () => {
    await using live = await liveMachine();
    const canary = live.root.directory("canary", 0o777);
    const source = live.root.directory("data");
    mkdirSync(join(source, "dir"));
    for (let number = 0; number < 100; number++) writeFileSync(join(source, "dir", `planted-${number}`), "x");
    succeeded(await live.inside(`mkdir -p /t/dir; ln -s ${canary} /t/link; mkdir -p ${canary}`));
    await using swapping = live.root.start(...EXCHANGE("/t/dir", "/t/link"));
    let through = 0;
    for (let round = 0; round < 12; round++) {
      const ends = await Promise.all([
        live.berth("copy-to", "m", source, "/t", "--force"),
        live.berth("copy-to", "m", join(source, "dir/planted-1"), "/t/dir/alone", "--force"),
      ]);
      through += ends.filter(({ status }) => status === 0).length;
      for (const { status } of ends) expect([0, 1]).toContain(status);
    }
    expect(through, "some came through").toBeGreaterThan(0);
    expect([swapping.child.exitCode, swapping.stderr]).toEqual([null, ""]);
    expect(readdirSync(canary)).toEqual([]);
  });

  test("swaps what is copied from with links, fifos and devices: nothing of the host comes out, and nothing hangs", async () => {
    await using live = await liveMachine();
    const secret = join(live.root.directory("secrets"), "secret");
    writeFileSync(secret, "secret of the host", { mode: 0o644 });
    succeeded(
      await live.inside(
        `mkdir /t /t/dir; for i in 1 2 3 4 5 6 7 8 9; do echo harmless >/t/dir/$i; done; ln -s ${secret} /t/link; mkfifo /t/fifo; ln -s ${live.root.path}/secrets /t/away`,
      ),
    );
    await using links = live.root.start(...EXCHANGE("/t/dir/5", "/t/link"));
    await using fifos = live.root.start(...EXCHANGE("/t/dir/6", "/t/fifo"));
    await using directories = live.root.start(...EXCHANGE("/t/dir", "/t/away"));
    for (let round = 0; round < 12; round++) {
      const back = join(live.root.path, "back");
      await Promise.all([
        live.berth("copy-from", "m", "/t", back, "--force"),
        live.berth("copy-from", "m", "/t/dir/secret", join(live.root.path, "alone"), "--force"),
      ]);
      if (!existsSync(back)) continue;
      const content = execFileSync("sh", ["-c", `find ${back} -type f -exec cat {} +`], { encoding: "utf8" });
      expect(content).toMatch(/^(harmless\n)*$/);
      rmSync(back, { recursive: true });
    }
    expect(existsSync(join(live.root.path, "alone"))).toBe(false);
    for (const swapping of [links, fifos, directories]) expect(swapping.stderr).not.toContain("syscall");
  });

  test("has something of the host's root bound into it gets no more rights over that by a copy", async () => {
    const place = (live: LiveMachine): string => join(live.root.path, "of-root");
    await using live = await liveMachine();
    mkdirSync(join(place(live), "closed"), { recursive: true });
    writeFileSync(join(place(live), "file"), "secret", { mode: 0o600 });
    writeFileSync(join(place(live), "closed/file"), "secret", { mode: 0o644 });
    chmodSync(join(place(live), "closed"), 0o700);
    succeeded(await live.berth("bind", "m", place(live), "/mnt"));
    const source = join(live.root.directory("data"), "file");
    writeFileSync(source, "x");
    succeeded(await live.inside("ln -s /mnt/closed /way; ln -s /mnt /open"));
    for (const target of ["/mnt/new", "/mnt/file", "/way/new", "/mnt/closed/new", "/open/new"])
      failed(await live.berth("copy-to", "m", source, target, "--force"), "EACCES");
    for (const from of ["/mnt/file", "/way/file", "/mnt/closed", "/mnt/closed/file", "/open/file"])
      failed(await live.berth("copy-from", "m", from, join(live.root.path, "out")), "EACCES");
    expect(existsSync(join(live.root.path, "out"))).toBe(false);
    expect(readdirSync(place(live)).sort()).toEqual(["closed", "file"]);
  });

  test("has directories that others may not enter: its root goes on, as it would inside", async () => {
    await using live = await liveMachine();
    const source = join(live.root.directory("data"), "file");
    writeFileSync(source, "x");
    succeeded(
      await live.inside(
        "mkdir -p /home/user/closed; chown -R 1000:1000 /home/user; chmod 500 /home/user/closed /home/user",
      ),
    );
    succeeded(await live.berth("copy-to", "m", source, "/home/user/closed/new"));
    succeeded(await live.berth("copy-from", "m", "/home/user/closed/new", join(live.root.path, "out")));
    expect(readFileSync(join(live.root.path, "out"), "utf8")).toBe("x");
  });
});
