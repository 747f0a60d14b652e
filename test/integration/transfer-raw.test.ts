/** Disk images in and out: as files, by pipes, compressed, with holes; and what is refused, with nothing left. */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { DISK_TOOLS, makeDisk, makeFileSystem } from "../lib/disk-images.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";

const ready = needs("root", "cc", "tool:xz", "tool:zstd", "tool:bzip2", "tool:getcap", ...DISK_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;
const PACK = { gz: ["gzip"], xz: ["xz", "-0"], zst: ["zstd", "-q"], bz2: ["bzip2"] } as const;

function images(root: BerthRoot): string[] {
  return readdirSync(root.machines).filter((name) => name !== ".berth-ranges.json" && !name.endsWith(".lock"));
}

async function source(root: BerthRoot): Promise<string> {
  const path = join(root.path, "web.raw");
  const from = await probeTree();
  makeDisk(path, { parts: [{ type: "root", size: 24 * MIB, fs: "ext4", from }] });
  return path;
}

async function ok(root: BerthRoot, ...words: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await root.berth(...words);
  expect(status, stderr).toBe(0);
  return stdout;
}

test("import-raw, export-raw: a file, a pipe, and every compression give the same disk, with its holes", async () => {
  await using root = berthRoot();
  const disk = await source(root);
  const bytes = readFileSync(disk);
  const isSame = (name: string): void => {
    const path = join(root.machines, `${name}.raw`);
    expect(readFileSync(path).equals(bytes), name).toBe(true);
    expect(statSync(path).blocks * 512, name).toBeLessThan(bytes.length / 2);
    expect(statSync(path).mode & 0o777, name).toBe(0o600);
  };
  await ok(root, "import-raw", disk);
  isSame("web");
  expect((await root.spawn(["dist/berth", "import-raw", "-", "piped"], { input: bytes }).end).status).toBe(0);
  isSame("piped");
  for (const [suffix, pack] of Object.entries(PACK)) {
    const packed = join(root.path, `${suffix}.raw.${suffix}`);
    const [tool = "", ...options] = pack;
    writeFileSync(packed, execFileSync(tool, [...options, "-c", disk], { maxBuffer: 1e9 }));
    await ok(root, "import-raw", packed);
    isSame(suffix);
    const out = join(root.path, `out.raw.${suffix}`);
    await ok(root, "export-raw", "web", out);
    const unpacked = execFileSync(tool, ["-d", "-c", out], { maxBuffer: 1e9 });
    expect(unpacked.equals(bytes), suffix).toBe(true);
  }
  await ok(root, "export-raw", "web", join(root.path, "plain.raw"));
  expect(readFileSync(join(root.path, "plain.raw")).equals(bytes)).toBe(true);
  expect(statSync(join(root.path, "plain.raw")).blocks * 512).toBeLessThan(bytes.length / 2);
  const { status } = await root.spawn(["sh", "-c", `dist/berth export-raw web | cmp - ${disk}`]).end;
  expect(status).toBe(0);
  expect((await root.berth("import-raw", disk)).stderr).toContain("exists already");
  await ok(root, "import-raw", "--force", "--read-only", disk);
  expect(JSON.parse(await ok(root, "show-image", "web", "--json"))).toMatchObject({ type: "raw", readOnly: true });
});

test("import-raw: what is cut, empty or no disk is refused or said, and nothing is left of it", async () => {
  await using root = berthRoot();
  const disk = await source(root);
  const packed = execFileSync("xz", ["-0", "-c", disk], { maxBuffer: 1e9 });
  const file = join(root.path, "bad.raw.xz");
  const refused = async (bytes: Buffer): Promise<string> => {
    writeFileSync(file, bytes);
    const { status, stderr } = await root.berth("import-raw", file, "bad");
    expect(status).toBe(1);
    expect(images(root)).toEqual([]);
    return stderr;
  };
  expect(await refused(packed.subarray(0, packed.length - 100))).toContain("the image is refused: xz:");
  expect(await refused(Buffer.concat([packed.subarray(0, 300), Buffer.alloc(200, 7), packed.subarray(500)]))).toContain(
    "the image is refused",
  );
  expect(await refused(Buffer.alloc(0))).toContain("there is nothing in it");
  writeFileSync(file, Buffer.alloc(MIB, 7));
  expect((await root.berth("import-raw", file, "odd")).stderr).toContain("no machine can run from it");
  expect(images(root)).toEqual(["odd.raw"]);
});

test("import-raw: of a full disk it says where that is and what was needed, and nothing is left there", async () => {
  await using root = berthRoot();
  const path = join(root.path, "web.raw");
  writeFileSync(path, randomBytes(100 * MIB));
  execFileSync("gzip", ["-1k", path]);
  using small = await mountFileSystem("tmpfs", join(root.path, "small"), async (directory) => {
    execFileSync("mount", ["-o", "remount,size=32m", directory]);
  });
  const machines = join(small.path, "machines");
  const full = async (...words: readonly string[]): Promise<string> => {
    const end = await root.spawn(words, { env: { BERTH_ROOT: small.path } }).end;
    expect(end).toMatchObject({ status: 1, stdout: "" });
    expect(readdirSync(machines)).toEqual([]);
    expect(end.stderr).toContain(`\nhint: make room there`);
    return end.stderr;
  };
  // Who watches the disk may be quicker than it is full.
  const where = `(the disk is full: no space left in ${machines} \\(ENOSPC\\)|stopped, as the file system of ${machines} is nearly full: .*)`;
  expect(await full(BERTH, "import-raw", path)).toMatch(new RegExp(`^berth: ${where}; 104 MB are needed`));
  expect(await full(BERTH, "import-raw", `${path}.gz`)).toMatch(new RegExp(`^berth: ${where}`));
  expect(await full("sh", "-c", `${BERTH} import-raw - piped <${path}`)).toMatch(new RegExp(`^berth: ${where}`));
  expect(await full("sh", "-c", `cat ${path} | ${BERTH} import-raw - piped`)).toMatch(new RegExp(`^berth: ${where}`));
});

test("import-raw: more than the disk could ever hold is refused when so much has come, whoever goes on", async () => {
  await using root = berthRoot();
  using small = await mountFileSystem("tmpfs", join(root.path, "small"), async (directory) => {
    execFileSync("mount", ["-o", "remount,size=4m", directory]);
  });
  const env = { BERTH_ROOT: small.path };
  await using child = root.spawn([BERTH, "import-raw", "-", "hollow"], { stdin: "pipe", env });
  child.child.stdin.write(Buffer.alloc(40 * MIB));
  const end = await child.end;
  child.child.stdin.destroy();
  expect(end).toMatchObject({ status: 1, stdout: "" });
  expect(end.stderr).toMatch(
    /^berth: the image is refused: it is larger than 16777216 bytes, which this disk could never/,
  );
  expect(readdirSync(join(small.path, "machines"))).toEqual([]);
});

test("import-raw converts qcow2, and reads no file that one names", async (ctx) => {
  needsHere(ctx, "tool:qemu-img");
  await using root = berthRoot();
  const disk = await source(root);
  const file = join(root.path, "web.qcow2");
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", disk, file]);
  await ok(root, "import-raw", file);
  expect(readFileSync(join(root.machines, "web.raw")).equals(readFileSync(disk))).toBe(true);
  // One that wants the host's files for its own.
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", file]);
  expect((await root.berth("import-raw", file, "thief")).stderr).toContain("the image is refused");
  expect(images(root)).toEqual(["web.raw"]);
  // One of nothing but holes, where the file system takes any size.
  execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", file, "1T"]);
  using small = await mountFileSystem("tmpfs", join(root.path, "small"), async () => undefined);
  const there = { env: { BERTH_ROOT: small.path } };
  const { status, stderr } = await root.spawn([BERTH, "import-raw", file, "huge"], there).end;
  expect([status, stderr]).toEqual([1, expect.stringMatching(/which this disk could never hold/)]);
  expect(readdirSync(join(small.path, "machines"))).toEqual([]);
});

test("export-tar: a disk image's tree, all partitions of it, with everything that a file can have", async () => {
  await using root = berthRoot();
  const tree = richTree(join(root.path, "rich"));
  const homes = root.directory("homes");
  writeFileSync(join(homes, "kept"), "x");
  mkdirSync(join(tree, "home"), { recursive: true });
  makeDisk(join(root.machines, "web.raw"), {
    parts: [
      { type: "root", size: 320 * MIB, fs: "xfs", from: tree },
      { type: "home", size: 16 * MIB, fs: "ext4", from: homes },
    ],
  });
  const archive = join(root.path, "web.tar");
  await ok(root, "export-tar", "web", archive);
  await ok(root, "import-tar", archive, "copy");
  expect(readFileSync(join(root.machines, "copy/home/kept"), "utf8")).toBe("x");
  const seen = (lines: readonly string[]): readonly string[] =>
    lines.filter((line) => !/lost\+found|^home|^archive /.test(line));
  const [ours, theirs] = [manifest(join(root.machines, "copy")), manifest(tree)].map((lines) =>
    seen(lines.map(String)),
  );
  expect(ours).toEqual(theirs);
  const status = JSON.parse(await ok(root, "image-status", "--json", "web"));
  expect(status[0].partitions).toMatchObject([
    { number: 1, fileSystem: "xfs", mountedOn: "/" },
    { number: 2, fileSystem: "ext4", mountedOn: "/home" },
  ]);
});

test("snapshot, diff and rollback of a disk image", async () => {
  needs("userns", "cgroup2");
  await using root = berthRoot();
  makeFileSystem("ext4", join(root.machines, "web.raw"), { from: await probeTree(), size: 32 * MIB });
  const run = async (...words: readonly string[]): Promise<string> =>
    (await root.spawn(["dist/berth", "run", "--pipe", "-q", "-M", "web", "--", ...probe(...words)]).end).stdout;
  await ok(root, "snapshot", "web", "first");
  await run("write", "/etc/new", "x");
  expect(await ok(root, "diff", "web", "first")).toBe("A /etc/new\n");
  await ok(root, "rollback", "web", "first");
  expect(await run("cat", "/etc/new")).toContain("ENOENT");
  await ok(root, "rollback", "--undo", "web");
  expect(await run("cat", "/etc/new")).toBe("x");
});

describe("while a machine may change it", () => {
  test("a disk image is not copied or exported, but on a file system that shares blocks it is cloned", async () => {
    needs("userns", "cgroup2", ...toolsOf("xfs"));
    await using root = berthRoot();
    using shared = await mountFileSystem("xfs", join(root.path, "disk"), async () => undefined);
    for (const [store, clones] of [
      [root.machines, false],
      [shared.path, true],
    ] as const) {
      const env = { BERTH_MACHINES: store };
      makeFileSystem("ext4", join(store, "web.raw"), { from: await probeTree(), size: 32 * MIB });
      const run = (...words: readonly string[]) => root.spawn(["dist/berth", ...words], { env });
      await using machine = run("run", "-q", "-M", "web", "--", ...probe("hostname", "--", "sleep", "1000000"));
      await machine.until(/hostname/);
      const exported = await run("export-raw", "web", join(root.path, "out.raw")).end;
      expect(exported.stderr).toContain("image web is in use: machine web may change it");
      expect((await run("export-tar", "web", join(root.path, "out.tar")).end).status).toBe(1);
      const cloned = await run("clone", "web", "copy").end;
      expect(cloned.status, cloned.stderr).toBe(clones ? 0 : 1);
      machine.kill("SIGTERM");
      await machine.end;
      if (clones) {
        const told = JSON.parse((await run("show-image", "copy", "--json").end).stdout);
        expect(told).toMatchObject({
          usage: expect.any(Number),
          why: expect.stringContaining("a clone shares its blocks"),
        });
        expect(told.usageExclusive).toBeLessThan(told.usage / 2);
        const { status, stderr } = await run("run", "--pipe", "-q", "-M", "copy", "--", ...probe("cwd")).end;
        expect(status, stderr).toBe(0);
      }
    }
  });
});

test("pull-raw --verify=checksum, --verify=no: a download is verified, then unpacked", async () => {
  await using root = berthRoot();
  const disk = await source(root);
  const packed = execFileSync("zstd", ["-q", "-c", disk], { maxBuffer: 1e9 });
  const sum = createHash("sha256").update(packed).digest("hex");
  const server = createServer((request, response) => {
    if (request.url?.endsWith(".raw.zst")) response.end(packed);
    else if (request.url === "/SHA256SUMS") response.end(`${sum}  web.raw.zst\n${"0".repeat(64)}  other.raw.zst\n`);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await ok(root, "pull-raw", "--verify=checksum", `${url}/web.raw.zst`);
    expect(readFileSync(join(root.machines, "web.raw")).equals(readFileSync(disk))).toBe(true);
    expect((await root.berth("pull-raw", "--verify=checksum", `${url}/other.raw.zst`)).stderr).toContain("is refused");
    expect((await root.berth("pull-raw", `${url}/web.raw.zst`, "third")).status).toBe(1);
    await ok(root, "pull-raw", "--verify=no", `${url}/other.raw.zst`);
    expect(images(root).sort()).toEqual(["other.raw", "web.raw"]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
