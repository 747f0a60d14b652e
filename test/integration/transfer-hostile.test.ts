/** Archives made to reach out of their tree, to fill the host, or to pass for whole: promises.md 3.2, class by class. */
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { deflateRawSync, gzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { openArchiveFile } from "../../src/transfer/archive-input.ts";
import { compressionNamed } from "../../src/transfer/compression.ts";
import { extractArchive } from "../../src/transfer/extract.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End, poll } from "../lib/berth.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { directory, entry, file, hardLink, link, longName, OS, pax, tar } from "../lib/tar.ts";

const ready = needs("root", "tool:xz", "tool:zstd", "tool:bzip2", "tool:gzip", "tool:igzip", "tool:python3");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Scene {
  readonly root: BerthRoot;
  /** A directory of the host that others may write to, with a file. */
  readonly canary: string;
  import(archive: Buffer, ...options: readonly string[]): Promise<End>;
  /** That directory's modes, owners, links, contents. */
  look(): string;
}

function scene(root: BerthRoot): Scene {
  const canary = root.directory("canary", 0o777);
  writeFileSync(join(canary, "file"), "of the host", { mode: 0o640 });
  mkdirSync(join(canary, "directory"));
  const look = (): string =>
    execFileSync("find", [canary, "-printf", "%P %y %m %U %n %s %T@\\n"], { encoding: "utf8" }) +
    readFileSync(join(canary, "file"), "utf8");
  return { root, canary, look, import: (archive, ...options) => importing(root, archive, ...options) };
}

async function importing(root: BerthRoot, archive: Buffer, ...options: readonly string[]): Promise<End> {
  const path = join(root.path, "archive");
  writeFileSync(path, archive);
  return root.berth("import-tar", path, "image", ...options);
}

/** Refused with a reason, and nothing is left. */
function expectRefused(root: BerthRoot, { status, stdout, stderr }: End, reason: RegExp): void {
  expect([status, stdout], stderr).toEqual([1, ""]);
  expect(stderr).toMatch(reason);
  expect(stderr).not.toMatch(/^ +at /m);
  expect(readdirSync(root.machines)).toEqual([]);
  expect(readdirSync(join(root.path, "run/images"))).toEqual([]);
}

/** 66 kB: no part of it is too long, and all of it is for any call. */
const DEEP = `${"a-name/".repeat(9_430)}end`;

const REFUSED: Readonly<Record<string, (canary: string) => readonly Buffer[]>> = {
  "a name with ..": () => [file("../evil", "x")],
  "a name with .. further on": () => [file("etc/../../evil", "x")],
  "a pax name with ..": () => [pax({ path: "../evil" }), file("good", "x")],
  "a long GNU name with ..": () => [longName(`${"../".repeat(60)}evil`), file("good", "x")],
  "a file through a link to an absolute path": (canary) => [link("out", canary), file("out/evil", "x")],
  "a file through a link with ..": () => [link("out", "../../../../../../tmp"), file("out/evil", "x")],
  "a file through two links": (canary) => [link("a", "b"), link("b", canary), file("a/evil", "x")],
  "a directory through a link": (canary) => [link("out", canary), directory("out/evil")],
  "a link through a link": (canary) => [link("out", canary), link("out/evil", "/etc/passwd")],
  "a device through a link": (canary) => [link("out", canary), entry({ name: "out/evil", type: "3", device: [1, 3] })],
  "a hard link to a file of the host": (canary) => [hardLink("evil", `${canary}/file`), file("evil", "x")],
  "a hard link with ..": () => [hardLink("evil", "../../../../../../../../etc/passwd")],
  "a hard link through a link": (canary) => [link("out", canary), hardLink("evil", "out/file"), file("evil", "x")],
  "a link's target by pax": (canary) => [pax({ linkpath: canary }), link("out", "good"), file("out/evil", "x")],
  "a directory in place of a link": (canary) => [link("out", `${canary}/directory`), directory("out/", 0o777)],
  "a name of 256 bytes": () => [longName("x".repeat(256)), file("good", "x")],
  "a pax path of 64 kB": () => [pax({ path: DEEP }), file("good", "x")],
  "a long GNU path of 64 kB": () => [longName(DEEP), file("good", "x")],
  "a size that is larger than the archive": () => [entry({ name: "data", content: "x", size: 1 << 30 })],
};

describe("what reaches out of the tree is refused, or stays in it", () => {
  test.each(Object.entries(REFUSED))("%s", async (_, entries) => {
    await using root = berthRoot();
    const { canary, look, ...at } = scene(root);
    const before = look();
    expectRefused(root, await at.import(tar([...OS, ...entries(canary)])), /^berth: the archive is refused: /);
    expect(look()).toBe(before);
    expect(readdirSync(root.path).sort()).toEqual(["archive", "canary", "etc", "machines", "run"]);
  });

  test.each([
    ["a path of 64 kB", DEEP],
    ["a name of 64 kB", "x".repeat(66_000)],
  ])("%s is said to be too long, and not at full length", async (_, path) => {
    await using root = berthRoot();
    for (const header of [pax({ path }), longName(path)]) {
      const end = await importing(root, tar([...OS, header, file("good", "x")]));
      expectRefused(root, end, /^berth: the archive is refused: tar: .{100,300}: File name too long$/m);
    }
  });

  test("absolute names are made relative", async () => {
    await using root = berthRoot();
    const { canary, look, ...at } = scene(root);
    const before = look();
    const end = await at.import(tar([...OS, file(`${canary}/file`, "evil"), file("//etc/x", "x")]));
    expect(end).toMatchObject({ status: 0 });
    expect(readFileSync(join(root.machines, "image", canary, "file"), "utf8")).toBe("evil");
    expect(look()).toBe(before);
  });

  test("modes, owners and attributes are never set through a link", async () => {
    await using root = berthRoot();
    const { canary, look, ...at } = scene(root);
    const before = look();
    const entries = [
      link("file", `${canary}/file`),
      file("file", "evil", { mode: 0o777, uid: 1234 }),
      pax({ "SCHILY.xattr.user.evil": "1" }),
      link("attribute", `${canary}/file`),
    ];
    const { status, stderr } = await at.import(tar([...OS, ...entries]));
    expect(status, stderr).toBe(0);
    expect(look()).toBe(before);
  });

  test("setuid files and devices lie where no user of the host gets, and trusted attributes are left out", async () => {
    await using root = berthRoot();
    const at = scene(root);
    const entries = [
      file("su", "x", { mode: 0o4755 }),
      entry({ name: "kmem", type: "3", device: [1, 2], mode: 0o666 }),
      entry({ name: "fifo", type: "6" }),
      pax({ "SCHILY.xattr.trusted.evil": "1", "SCHILY.xattr.user.good": "1" }),
      file("attributes", "x"),
    ];
    const { status, stderr } = await at.import(tar([...OS, ...entries]));
    expect(status, stderr).toBe(0);
    expect(lstatSync(root.machines).mode & 0o777).toBe(0o700);
    const image = join(root.machines, "image");
    expect(lstatSync(join(image, "su")).mode & 0o7777).toBe(0o4755);
    const script = "import os,sys; print(os.listxattr(sys.argv[1]))";
    const listed = execFileSync("python3", ["-c", script, join(image, "attributes")], { encoding: "utf8" });
    expect(listed.trim()).toBe("['user.good']");
    for (const path of ["su", "kmem"]) {
      const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "cat", join(image, path)];
      expect(() => execFileSync("setpriv", words, { stdio: "pipe" }), path).toThrow(/Permission denied/);
    }
  });
});

describe("what is not whole is refused", () => {
  const good = tar([...OS, file("data", Buffer.alloc(5000, 7))]);
  const bad = Buffer.from(good);
  bad.writeUInt8(bad.readUInt8(512 * 2 + 20) ^ 0xff, 512 * 2 + 20);
  const packed = gzipSync(good);
  const wrongSum = Buffer.from(packed);
  wrongSum.writeUInt8(wrongSum.readUInt8(wrongSum.length - 6) ^ 0xff, wrongSum.length - 6);
  const through = (tool: string): Buffer => execFileSync(tool, ["-c"], { input: good });

  const damaged: Readonly<Record<string, () => Buffer>> = {
    "nothing at all": () => Buffer.alloc(0),
    "no archive": () => Buffer.from("this is no archive\n".repeat(100)),
    "only zeros": () => Buffer.alloc(10_240),
    "cut in a header": () => good.subarray(0, 512 * 2 + 100),
    "cut in a file": () => good.subarray(0, 512 * 6),
    "cut between two entries": () => tar([...OS], { end: 0 }),
    "one zero block where two should be, and more after it": () =>
      Buffer.concat([tar([...OS], { end: 1, padded: false }), tar([file("rest", "x")])]),
    "a wrong header sum": () => bad,
    "gzip, cut": () => packed.subarray(0, packed.length - 20),
    "gzip, a wrong sum": () => wrongSum,
    "gzip, a second member cut in its header": () => Buffer.concat([packed, packed.subarray(0, 5)]),
    "gzip, garbage": () => Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(100, 9)]),
    "xz, cut": () => through("xz").subarray(0, -30),
    "zstd, cut": () => through("zstd").subarray(0, -5),
    "bzip2, cut": () => through("bzip2").subarray(0, -10),
  };

  test.each(Object.entries(damaged))("%s", async (_, archive) => {
    await using root = berthRoot();
    const end = await importing(root, archive());
    expectRefused(
      root,
      end,
      /^berth: the archive is refused: .+\nhint: nothing of it is left here(; is it a disk image\? .+)?\n$/m,
    );
  });

  test("but what is whole is taken, also with data behind its end, and from a pipe", async () => {
    await using root = berthRoot();
    for (const [index, archive] of [
      good,
      packed,
      Buffer.concat([good, Buffer.alloc(1 << 20)]),
      Buffer.concat([packed, Buffer.from("\n")]),
      Buffer.concat([packed, Buffer.alloc(1 << 20, "x")]),
      through("xz"),
    ].entries()) {
      const end = await root.spawn(
        [join(import.meta.dirname, "../../dist/berth"), "import-tar", "-", `image${index}`],
        {
          input: archive,
        },
      ).end;
      expect(end, `${index}`).toMatchObject({ status: 0, stderr: "" });
      expect(readFileSync(join(root.machines, `image${index}/data`)).length).toBe(5000);
    }
  });
});

test.each(["import-tar", "import-raw"])(
  "%s of what can't be unpacked does not wait for the rest of a pipe",
  async (verb) => {
    await using root = berthRoot();
    await using child = root.spawn([BERTH, verb, "-", "image"], { stdin: "pipe" });
    child.child.stdin.write(Buffer.concat([Buffer.from("fd377a585a00", "hex"), Buffer.alloc(1 << 15, 9)]));
    const end = await child.end;
    child.child.stdin.destroy();
    expect(end).toMatchObject({ status: 1, stdout: "" });
    expect(end.stderr).toMatch(/^berth: the (archive|image) is refused: /);
    expect(readdirSync(root.machines)).toEqual([]);
  },
);

test.each(["import-tar", "import-raw"])("%s of what can't be read says so", async (verb) => {
  await using root = berthRoot();
  const directory = openSync(root.path, "r");
  try {
    const end = await root.spawn([BERTH, verb, "-", "image"], { stdin: directory }).end;
    expect(end).toMatchObject({ status: 1, stdout: "", stderr: "berth: the archive can't be read: Is a directory\n" });
  } finally {
    closeSync(directory);
  }
  expect(readdirSync(root.machines)).toEqual([]);
});

/** Of the confined programs of a process, below a keeper each: the one that reads a pipe. */
function readersBelow(pid: number): readonly number[] {
  const read = (path: string): string => {
    try {
      return readFileSync(path, "latin1");
    } catch {
      return ""; // It has ended meanwhile.
    }
  };
  const parentOf = (pid: number): number => Number(/^PPid:\t(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1]);
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`) === "cat\0")
    .map(Number)
    .filter((each) => parentOf(parentOf(each)) === pid);
}

test.each(["import-tar", "import-raw"])("%s: who reads the pipe is killed, which is not its end", async (verb) => {
  await using root = berthRoot();
  await using child = root.spawn([BERTH, verb, "-", "image"], { stdin: "pipe" });
  child.child.stdin.write(tar([...OS, file("data", randomBytes(1 << 20))]));
  const reader = await poll("who reads", () => readersBelow(child.pid)[0]);
  process.kill(reader, "SIGKILL");
  const { status, stderr } = await child.end;
  child.child.stdin.destroy();
  expect(status).toBe(1);
  expect(stderr).toBe("berth: the archive can't be read: the program for that was killed by SIGKILL\n");
  expect(readdirSync(root.machines)).toEqual([]);
});

async function unpackBy(words: readonly string[] | null, root: BerthRoot, archive: Buffer): Promise<void> {
  const path = join(root.path, "archive");
  const into = root.directory("into");
  writeFileSync(path, archive);
  const { signal } = new AbortController();
  using opened = openArchiveFile(path);
  const input = await opened.input(signal);
  const compression = words === null ? input.compression : { ...input.compression, unpack: [words] };
  await extractArchive({ ...input, compression }, into, { signal, onLine: () => undefined });
}

describe.each(compressionNamed("gzip").unpack.map((words) => [words[0] as string, words] as const))(
  "gzip by %s",
  (_, words) => {
    const good = tar([...OS, file("data", Buffer.alloc(500_000, 7))]);
    const packed = gzipSync(good);

    test.each([
      ["nothing", Buffer.alloc(0)],
      ["zeros", Buffer.alloc(100)],
      ["a line", Buffer.from("\n")],
      ["something else", Buffer.alloc(100_000, "x")],
    ])("is taken, when %s follows", async (_, more) => {
      await using root = berthRoot();
      await unpackBy(words, root, Buffer.concat([packed, more]));
      expect(readFileSync(join(root.path, "into/data")).length).toBe(500_000);
    });

    test.each([
      ["data", packed.subarray(0, -30)],
      ["sum", packed.subarray(0, -5)],
      ["length", packed.subarray(0, -1)],
      ["second header", Buffer.concat([packed, packed.subarray(0, 4)])],
    ])("is refused, when it is cut in its %s", async (_, archive) => {
      await using root = berthRoot();
      await expect(unpackBy(words, root, archive)).rejects.toThrow(/^the archive is refused: (?!.*\bsh\b)/);
    });
  },
);

/** More than fits into a pipe, of which tar(1) reads nothing: the sums come after it. */
const PADDING = Buffer.alloc(20 << 20);

describe.each(["gzip", "xz", "zstd", "bzip2"])("%s, with much behind the archive's end", (program) => {
  const pack = (data: Buffer): Buffer => execFileSync(program, ["-c", "-1"], { input: data, maxBuffer: 2 ** 30 });
  // Random data are packed as they are, so that what is damaged in them is found by sums alone.
  const data = randomBytes(3 << 20);
  const whole = tar([...OS, file("data", data)]);
  const packed = ready ? pack(Buffer.concat([whole, PADDING])) : Buffer.alloc(0);
  const damaged = Buffer.from(packed);
  if (ready) damaged.writeUInt8(damaged.readUInt8(1_500_000) ^ 0xff, 1_500_000);

  test("is taken when it is whole", async () => {
    await using root = berthRoot();
    await unpackBy(null, root, packed);
    expect(readFileSync(join(root.path, "into/data")).equals(data)).toBe(true);
  });

  test.each([
    ["a byte is another", () => damaged],
    ["it is cut", () => packed.subarray(0, -3)],
    ["a second part is cut", () => Buffer.concat([packed, packed.subarray(0, 2_000_000)])],
  ])("is refused when %s", async (_, archive) => {
    await using root = berthRoot();
    await expect(unpackBy(null, root, archive())).rejects.toThrow(/^the archive is refused: /);
  });
});

test.each(["gzip", "zstd"])("%s: where tar gives up before its end, tar has the reason", async (program) => {
  await using root = berthRoot();
  // A long name of 4 EB: the number in base 256, and the header's sum with it.
  const header = entry({ name: "././@LongLink", type: "L" });
  header.set([0x80, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 124);
  header.fill(" ", 148, 156);
  const sum = header.subarray(0, 512).reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const archive = execFileSync("sh", ["-c", `{ cat; head -c 200M /dev/zero; } | ${program} -1`], { input: header });
  await expect(unpackBy(null, root, archive)).rejects.toThrow(
    "the archive is refused: the names and attributes in it take more memory than tar may have here",
  );
});

describe("what is whole is refused all the same, when its unpacker", () => {
  const packed = gzipSync(tar([...OS, file("data", "x")]));

  test("fails", async () => {
    await using root = berthRoot();
    const words = ["sh", "-c", "gzip -dcq; exit 3"];
    await expect(unpackBy(words, root, packed)).rejects.toThrow("the archive is refused: gzip ended with status 3");
  });

  test.each([
    ["when all of it is there", "gzip -dcq"],
    ["halfway", "head -c 100"],
  ])("is killed %s", async (_, before) => {
    await using root = berthRoot();
    const end = unpackBy(["sh", "-c", `${before}; exec sleep 4321`], root, packed);
    const sleeper = () => spawnSync("pgrep", ["-xf", "sleep 4321"]).stdout.toString() || undefined;
    process.kill(Number(await poll("the unpacker's pause", sleeper)), "SIGKILL");
    await expect(end).rejects.toThrow("cannot unpack the archive: gzip was killed by SIGKILL");
  });

  test("is not there", async () => {
    await using root = berthRoot();
    await expect(unpackBy(["no-such-unpacker"], root, packed)).rejects.toThrow(/needs gzip, not installed here/);
  });
});

describe("bombs", () => {
  test("what would fill the disk ends before it is full, with nothing left", async () => {
    await using root = berthRoot();
    using _disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=64m", path]);
      execFileSync("mount", ["--bind", path, root.machines]);
    });
    try {
      const size = 200 << 20;
      const bomb = tar([...OS, file("zeros", Buffer.alloc(size))]);
      expectRefused(root, await importing(root, gzipSync(bomb)), /nearly full|the disk is full/);
    } finally {
      execFileSync("umount", [root.machines]);
    }
  });

  test("more files than there is room for", async () => {
    await using root = berthRoot();
    using _disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=64m,nr_inodes=2000", path]);
      execFileSync("mount", ["--bind", path, root.machines]);
    });
    try {
      const many = Array.from({ length: 5000 }, (_, index) => file(`f${index}`, ""));
      expectRefused(root, await importing(root, tar([...OS, ...many])), /nearly full|the disk is full/);
    } finally {
      execFileSync("umount", [root.machines]);
    }
  });

  test("holes take no room, and more of them than a file can have are refused", async () => {
    await using root = berthRoot();
    const holes = (size: string): Buffer => {
      const fields = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes" };
      const map = Buffer.concat([Buffer.from(`1\n${size}\n0\n`), Buffer.alloc(512)]).subarray(0, 512);
      return tar([...OS, pax({ ...fields, "GNU.sparse.realsize": size }), file("GNUSparseFile.0/holes", map)]);
    };
    expectRefused(root, await importing(root, holes("9223372036854775807")), /the archive is refused: tar: /);
    expect(await importing(root, holes("1099511627776"))).toMatchObject({ status: 0, stderr: "" });
    const { size, blocks } = lstatSync(join(root.machines, "image/holes"));
    expect([size, blocks]).toEqual([2 ** 40, 0]);
  });

  test("a header that wants gigabytes of memory to be unpacked", async () => {
    await using root = berthRoot();
    const data = execFileSync("zstd", ["-c", "--ultra", "-22", "--long=31"], {
      input: tar([...OS]),
      stdio: ["pipe", "pipe", "ignore"],
    });
    const end = await importing(root, widened(data));
    expectRefused(root, end, /the archive is refused: .*(memory|window)/i);
  });

  test.each(["x", "g", "L", "K"])("a name or attributes (%s) of a gigabyte, which is a hole", async (type) => {
    await using root = berthRoot();
    const size = 1_200_000_000;
    const path = join(root.path, "archive");
    writeFileSync(path, tar([...OS, entry({ name: "long", type, size })], { end: 0 }));
    truncateSync(path, size + (1 << 20));
    expectRefused(root, await root.berth("import-tar", path, "image"), /refused: the names and attributes .* memory/);
  });

  /** The same frame with a window of 2 GiB in its header, RFC 8878. */
  function widened(frame: Buffer): Buffer {
    const descriptor = 0;
    return Buffer.concat([
      frame.subarray(0, 4),
      Buffer.from([descriptor, 21 << 3]),
      deflateRawSync(Buffer.alloc(0)),
      frame.subarray(6),
    ]);
  }
});
