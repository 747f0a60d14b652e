/** Imports and exports: what goes out and in again is the same, and what does not get through leaves nothing. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { findPaths } from "../../src/host/paths.ts";
import { ImageStore } from "../../src/image/store.ts";
import { pipe } from "../../src/sys/sockets.ts";
import { compressionOf, NONE } from "../../src/transfer/compression.ts";
import { Transfers } from "../../src/transfer/transfers.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { checkLeaks, openFds } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { newProcesses, readProcesses } from "../lib/processes.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { directory, file, OS, tar } from "../lib/tar.ts";

const ready = needs(
  ...(["root", "userns", "cgroup2", "cc", "tool:python3", "tool:getcap", "tool:lsattr"] as const),
  ...(["tool:xz", "tool:zstd", "tool:bzip2", "tool:gzip"] as const),
);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

async function done(root: BerthRoot, ...words: readonly string[]): Promise<string> {
  const end = await root.berth(...words);
  expect(end).toMatchObject({ status: 0, stderr: "" });
  return end.stdout;
}

function transfersOf(root: BerthRoot): Transfers {
  return new Transfers(new ImageStore(findPaths({ ...root.env }, "/nonexistent", undefined)));
}

const IMAGE = { name: "web", readOnly: false, replace: false };

describe("export-tar and import-tar", () => {
  test.each([
    ["tar", "none"],
    ["tar.gz", "gzip"],
    ["tar.xz", "xz"],
    ["tar.zst", "zstd"],
    ["tar.bz2", "bzip2"],
  ])("by .%s keep everything a file can have", async (suffix, format) => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    const archive = join(root.path, `copy.${suffix}`);
    await done(root, "export-tar", "web", archive);
    expect(statSync(archive).mode & 0o777).toBe(0o600);
    expect(compressionOf(readFileSync(archive)).name).toBe(format);
    expect(JSON.parse(await done(root, "import-tar", archive, "--json"))).toMatchObject({
      name: "copy",
      readOnly: false,
    });
    expect(manifest(join(root.machines, "copy"))).toEqual(manifest(tree));
    const again = join(root.path, `again.${suffix}`);
    await done(root, "export-tar", "copy", again);
    expect(readFileSync(again).equals(readFileSync(archive)), "an export of it is the same, byte for byte").toBe(true);
    expect(readdirSync(root.path).sort()).toEqual(
      [`again.${suffix}`, `copy.${suffix}`, "etc", "machines", "run"].sort(),
    );
  });

  test("through pipes", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    const script = `${BERTH} export-tar web --format=zstd | ${BERTH} import-tar - copy --read-only`;
    expect(await root.spawn(["sh", "-c", script]).end).toMatchObject({ status: 0, stderr: "" });
    expect(manifest(join(root.machines, "copy"))).toEqual(manifest(tree));
    expect((await root.berth("list-images")).stdout).toMatch(/^copy +directory +yes /m);
    await done(root, "remove", "copy");
    const unnamed = await root.spawn([BERTH, "import-tar", "-"], { input: "" }).end;
    expect([unnamed.status, unnamed.stderr]).toEqual([2, expect.stringContaining("needs a name")]);
  });

  test("from a tree that a machine runs from, and what was imported runs", async () => {
    await using root = berthRoot();
    await probeTree({ at: join(root.machines, "web"), init: true });
    await using machine = root.start("run", "-q", "-M", "web", "-b", "--console=read-only", "--", "--term");
    await machine.until(/^up/m);
    await done(root, "export-tar", "web", join(root.path, "web.tar"));
    machine.kill();
    await machine.end;
    await done(root, "import-tar", join(root.path, "web.tar"), "copy");
    expect((await root.run(join(root.machines, "copy"), [], probe("ids"))).status).toBe(0);
  });

  test("ACLs by name are kept; of names that nobody knows the archive is refused, as a mask would become rights", async () => {
    await using root = berthRoot();
    const tree = root.directory("tree");
    const script = `
import os, struct, sys
os.makedirs("etc")
open("etc/os-release", "w").write("ID=acl\\n")
acl = lambda *entries: struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
none = 0xffffffff
# 5 is games, 4 adm, on every Debian
os.setxattr("etc/os-release", "system.posix_acl_access",
    acl((1, 6, none), (2, 6, 5), (4, 0, none), (8, 4, 4), (16, 6, none), (32, 0, none)))`;
    execFileSync("python3", ["-c", script], { cwd: tree });
    const archive = join(root.path, "acl.tar");
    execFileSync("tar", ["-C", tree, "--acls", "-cf", archive, "."]);
    const bytes = readFileSync(archive);
    expect(bytes.indexOf("user:games:rw-")).toBeGreaterThan(0);
    await done(root, "import-tar", archive, "web");
    expect(manifest(join(root.machines, "web"))).toEqual(manifest(tree));
    await done(root, "remove", "web");
    writeFileSync(archive, Buffer.from(bytes.toString("latin1").replaceAll("user:games:", "user:gamez:"), "latin1"));
    const unknown = await root.berth("import-tar", archive, "web");
    expect(unknown).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/ACL of .*os-release is not understood/),
    });
    expect(existsSync(join(root.machines, "web"))).toBe(false);
  });

  test("an operating system one directory down is found, anything else stays as it is", async () => {
    await using root = berthRoot();
    const inner = [directory("top", 0o755), directory("top/etc"), file("top/etc/os-release", "ID=x\n")];
    writeFileSync(join(root.path, "inner.tar"), tar(inner));
    writeFileSync(join(root.path, "data.tar"), tar([directory("top"), file("top/file", "x")]));
    for (const name of ["inner", "data"]) await done(root, "import-tar", join(root.path, `${name}.tar`));
    expect(readdirSync(join(root.machines, "inner"))).toEqual(["etc"]);
    expect(readdirSync(join(root.machines, "data"))).toEqual(["top"]);
  });

  test("--force puts it in place of the old one, which stays when it fails or runs", async () => {
    await using root = berthRoot();
    const old = await probeTree({ at: join(root.machines, "web"), init: true });
    await done(root, "read-only", "web");
    const archive = join(root.path, "web.tar");
    writeFileSync(archive, tar([...OS]).subarray(0, 700));
    expect((await root.berth("import-tar", archive, "--force")).status).toBe(1);
    expect(existsSync(join(old, "probe"))).toBe(true);
    writeFileSync(archive, tar([...OS]));
    expect((await root.berth("import-tar", archive)).stderr).toContain("web exists already");
    {
      const words = ["-D", old, "-x", "-b", "--console=read-only"];
      await using machine = root.start("run", "-q", ...words, "--", "--term");
      await machine.until(/^up/m);
      expect((await root.berth("import-tar", archive, "--force")).stderr).toContain("image web is in use");
      machine.kill();
      await machine.end;
    }
    await done(root, "import-tar", archive, "--force");
    expect(readdirSync(join(root.machines, "web"))).toEqual(["etc"]);
    expect(readdirSync(root.machines).filter((name) => !name.startsWith(".berth-ranges"))).toEqual(["web"]);
  });

  test("an export that fails leaves the file of before", async () => {
    await using root = berthRoot();
    writeFileSync(join(richTree(join(root.machines, "web")), "large"), Buffer.alloc(40 << 20, 1));
    const archive = join(root.path, "web.tar");
    writeFileSync(archive, "of before");
    await using child = root.spawn(["sh", "-c", `ulimit -f 60000; exec ${BERTH} export-tar web ${archive}`]);
    const { status, stderr } = await child.end;
    expect([status, stderr]).toEqual([1, expect.stringMatching(/^berth: cannot export image web: /)]);
    // Nor is anything left of one that is killed.
    await using killed = root.start("export-tar", "web", archive);
    const isOpen = (fd: string): boolean => fd.includes(`${root.path}/#`) || fd.includes(`${root.path}/.web.tar`);
    await poll("its file", () => openFds(killed.child.pid ?? 0).some(isOpen) || undefined);
    killed.kill("SIGKILL");
    await killed.end;
    expect(readFileSync(archive, "utf8")).toBe("of before");
    expect(readdirSync(root.path).sort()).toEqual(["etc", "machines", "run", "web.tar"]);
    expect((await root.berth("export-tar", "nothing", archive)).stderr).toContain('no image "nothing"');
    writeFileSync(join(root.machines, "disk.raw"), "x");
    expect((await root.berth("export-tar", "disk", archive)).stderr).toContain("it has no file system that is known");
  });
});

test("what is open for writing only is no archive", async () => {
  await using root = berthRoot();
  const fd = openSync(join(root.path, "out"), "w");
  await expect(transfersOf(root).importTar(fd, IMAGE).done).rejects.toThrow("the archive can't be read: EBADF");
  expect(readdirSync(root.machines)).toEqual([]);
});

test("import-fs copies a directory with everything, but nothing mounted below it", async () => {
  await using root = berthRoot();
  const tree = richTree(join(root.path, "from/web"));
  const before = manifest(tree);
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(tree, "usr/lib")]);
  try {
    writeFileSync(join(tree, "usr/lib/mounted"), "x");
    await done(root, "import-fs", tree);
  } finally {
    execFileSync("umount", [join(tree, "usr/lib")]);
  }
  // The empty mount point gets the looks of what is mounted there.
  const others = (lines: readonly string[]): string[] => lines.filter((line) => !/^(usr\/lib|archive) /.test(line));
  expect(others(manifest(join(root.machines, "web")))).toEqual(others(before));
  expect(readdirSync(join(root.machines, "web/usr/lib"))).toEqual([]);
  const whole = await root.berth("import-fs", root.path, "all");
  expect([whole.status, whole.stderr]).toEqual([1, expect.stringContaining("holds the store of images itself")]);
  expect((await root.berth("import-fs", join(tree, "etc/os-release"), "x")).stderr).toContain("is no directory");
  expect(readdirSync(root.machines)).toEqual(["web"]);
});

describe("an import that does not come to its end", () => {
  test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)("by %s, in the midst of the archive", async (kill) => {
    await using root = berthRoot();
    const before = readProcesses();
    await using child = root.spawn([BERTH, "import-tar", "-", "web"], { stdin: "pipe" });
    child.child.stdin.write(tar([...OS, file("data", Buffer.alloc(1 << 20, 1))], { end: 0 }));
    await poll("what it has unpacked", () => {
      const [workspace = ""] = readdirSync(root.machines);
      return existsSync(join(root.machines, workspace, "tree/data")) ? true : undefined;
    });
    child.kill(kill);
    const { status, stdout, stderr } = await child.end;
    child.child.stdin.destroy();
    if (kill === "SIGKILL") {
      expect((await root.berth("list-images")).stdout).toBe("");
      await expect.poll(() => ours(newProcesses(before, readProcesses())), { timeout: 5000 }).toEqual([]);
      await done(root, "clean");
    } else expect([status, stdout, stderr]).toEqual([130, "", "berth: importing web was interrupted\n"]);
    expect(readdirSync(root.machines)).toEqual([]);
    expect(ours(newProcesses(before, readProcesses()))).toEqual([]);
  });

  /** Of the tools an import runs, and their keepers. */
  function ours(processes: readonly string[]): string[] {
    return processes.filter((line) => /berth-(transfer|view|stage)|unshare|tar |import-tar/.test(line));
  }

  test("before the first byte has come", async () => {
    await using root = berthRoot();
    await using child = root.spawn([BERTH, "import-tar", "-", "web"], { stdin: "pipe" });
    await poll("its workspace", () => readdirSync(root.machines)[0]);
    child.kill("SIGINT");
    expect((await child.end).status).toBe(130);
    expect(readdirSync(root.machines)).toEqual([]);
  });

  test("as another one makes the same image", async () => {
    await using root = berthRoot();
    await using first = root.spawn([BERTH, "import-tar", "-", "web"], { stdin: "pipe" });
    await poll("its workspace", () => readdirSync(root.machines)[0]);
    writeFileSync(join(root.path, "web.tar"), tar([...OS]));
    const second = await root.berth("import-tar", join(root.path, "web.tar"));
    expect(second).toMatchObject({
      status: 1,
      stderr: "berth: image web is being made\nhint: try again when that has ended\n",
    });
    first.child.stdin.end(tar([...OS]));
    expect(await first.end).toMatchObject({ status: 0, stderr: "" });
    expect(readdirSync(root.machines)).toEqual(["web"]);
  });
});

describe("the registry of transfers", () => {
  test("lists what goes on, tells of it, and ends it when asked", async () => {
    await using root = berthRoot();
    const fds = openFds(process.pid);
    const transfers = transfersOf(root);
    const events: string[] = [];
    transfers.on("new", ({ id, type, local }) => events.push(`new ${id} ${type} ${local}`));
    transfers.on("removed", ({ id }, outcome) => events.push(`removed ${id} ${outcome}`));
    transfers.on("log", (_, priority, line) => events.push(`${priority} ${line}`));
    const pipe = join(root.path, "pipe");
    execFileSync("mkfifo", [pipe]);
    const writer = openSync(pipe, "r+");
    const transfer = transfers.importTar(openSync(pipe, "r"), IMAGE, "somewhere");
    expect(transfers.list()).toEqual([transfer]);
    expect(transfers.get(transfer.id)).toBe(transfer);
    writeSync(writer, tar([...OS], { end: 0 }));
    await poll("the first files", () => {
      const [workspace = ""] = readdirSync(root.machines);
      return workspace === "" ? undefined : true;
    });
    expect(transfer).toMatchObject({ id: 1, type: "import-tar", local: "web", remote: "somewhere", progress: 0 });
    await poll("its first words", () => (events.length >= 2 ? true : undefined));
    transfers.cancel(1);
    await expect(transfer.done).rejects.toThrow("transfer 1 was cancelled");
    expect(() => transfers.cancel(1)).toThrow(expect.objectContaining({ kind: "NoSuchTransfer" }));
    expect(events).toEqual([
      "new 1 import-tar web",
      "6 unpacking, compression: none",
      "3 transfer 1 was cancelled",
      "removed 1 canceled",
    ]);
    expect(readdirSync(root.machines)).toEqual([]);
    closeSync(writer);
    expect(openFds(process.pid)).toEqual(fds);
  });

  // A loop that is held up is so each time, one whose process had no turn now and then. CPU time would not show who waits.
  test("says how far it is, and keeps the event loop free", { retry: 2 }, async () => {
    await using root = berthRoot();
    const transfers = transfersOf(root);
    const steps: number[] = [];
    transfers.on("progress", (_, fraction) => steps.push(fraction));
    const tree = richTree(join(root.machines, "web"));
    mkdirSync(join(tree, "large"));
    for (let index = 0; index < 40; index++)
      writeFileSync(join(tree, "large", `${index}`), Buffer.alloc(4 << 20, index));
    const archive = join(root.path, "web.tar");
    let worst = 0;
    let last = performance.now();
    const ticking = setInterval(() => {
      worst = Math.max(worst, performance.now() - last - 5);
      last = performance.now();
    }, 5);
    const [reader, writer] = pipe();
    const exporting = transfers.exportTar("web", writer, NONE);
    const output = await open(archive, "w");
    // It says so of what takes long: somebody who reads slowly until then.
    for await (const chunk of createReadStream("", { fd: reader })) {
      await output.write(chunk);
      if (steps.length < 2) await sleep(2);
    }
    await output.close();
    await exporting.done;
    expect(steps.length).toBeGreaterThan(1);
    expect(steps.toSorted((a, b) => a - b)).toEqual(steps);
    expect(steps.at(-1)).toBe(1);
    steps.length = 0;
    await transfers.importTar(openSync(archive, "r"), { ...IMAGE, name: "copy" }).done;
    expect(steps.length).toBeGreaterThan(0);
    clearInterval(ticking);
    // Of a quiet machine some ms; others work on this one as well.
    expect(worst).toBeLessThan(200);
  });

  test("of a failure it tells the reason, and goes on", async () => {
    await using root = berthRoot();
    const transfers = transfersOf(root);
    const archive = join(root.path, "x.tar");
    writeFileSync(archive, "no archive");
    const failed = transfers.importTar(openSync(archive, "r"), IMAGE);
    await expect(failed.done).rejects.toThrow(/^the archive is refused: /);
    expect(failed.log.at(-1)).toMatch(/^the archive is refused: /);
    const fd = openSync(archive, "r");
    expect(() => transfers.importTar(fd, { ...IMAGE, name: "../x" })).toThrow(/may not contain/);
    closeSync(fd);
    expect(transfers.list()).toEqual([]);
    expect(readdirSync(root.machines)).toEqual([]);
  });
});
