/** org.freedesktop.import1 as machinectl of Debian 12 and of Debian 13 use it, unmodified; and limits of images where there can be some. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { DISK_TOOLS, makeDisk } from "../lib/disk-images.ts";
import { mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type Machinectl, machinectlOn } from "../lib/machinectl.ts";
import { manifest } from "../lib/manifest.ts";
import { probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { silentFileSystem } from "../lib/silent-file-system.ts";
import { file, OS, tar } from "../lib/tar.ts";
import { MACHINECTLS } from "../lib/trixie-machinectl.ts";

const ready = needs("root", "tool:machinectl", "tool:dbus-daemon", "tool:python3", "tool:getcap", "no-systemd");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** Without what is no image. */
function images(root: BerthRoot): string[] {
  return readdirSync(root.machines).filter((name) => !name.startsWith(".berth-"));
}

describe.each(MACHINECTLS)("machinectl of %s", (_, program) => {
  async function onBus(root: BerthRoot): Promise<Machinectl> {
    expect(await root.berth("daemon", "start")).toMatchObject({ status: 0 });
    expect(await root.berth("daemon", "status")).toMatchObject({ status: 0 });
    return machinectlOn(root, await program());
  }

  test("export-tar, import-tar and import-fs keep everything a file can have", async () => {
    await using root = berthRoot();
    const tree = richTree(join(root.machines, "web"));
    const machinectl = await onBus(root);
    const archive = join(root.path, "copy.tar.gz");
    expect(await machinectl("export-tar", "web", archive)).toMatchObject({ status: 0 });
    expect(readFileSync(archive).subarray(0, 2).toString("hex"), "by the file's name").toBe("1f8b");
    expect(await machinectl("import-tar", "--read-only", archive)).toMatchObject({ status: 0 });
    expect(manifest(join(root.machines, "copy"))).toEqual(manifest(tree));
    expect((await machinectl("show-image", "copy", "-p", "ReadOnly")).stdout).toBe("ReadOnly=yes\n");
    expect(await machinectl("import-tar", archive)).toMatchObject({ status: 1 });
    expect(await machinectl("import-tar", "--force", archive)).toMatchObject({ status: 0 });
    expect(await machinectl("import-fs", tree, "third")).toMatchObject({ status: 0 });
    expect(manifest(join(root.machines, "third"))).toEqual(manifest(tree));
    writeFileSync(archive, "no archive");
    const refused = await machinectl("import-tar", archive, "fourth");
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining("the archive is refused")]);
    expect(images(root).sort()).toEqual(["copy", "third", "web"]);
  });

  test("a file whose file system does not answer holds its import up, and not the daemon", async () => {
    await using root = berthRoot();
    const machinectl = await onBus(root);
    const archive = join(root.path, "silent.tar");
    writeFileSync(archive, "");
    const silent = await silentFileSystem(archive);
    const importing = root.spawn(machinectl.argv("import-tar", archive, "web"), { env: machinectl.env });
    try {
      await poll("its first read", () => (silent.unanswered() > 0 ? true : undefined));
      const listed = root.berth("list-transfers");
      const late = new Promise<string>((resolve) => {
        setTimeout(() => resolve("no answer"), 5000).unref();
      });
      expect(await Promise.race([listed, late])).toMatchObject({ status: 0, stdout: expect.stringContaining("web") });
    } finally {
      silent[Symbol.dispose]();
    }
    expect(await importing.end).toMatchObject({ status: 1 });
    expect(images(root)).toEqual([]);
  });

  test("import-raw, export-raw and pull-raw keep a disk image, and a machine starts from it", async (ctx) => {
    needsHere(ctx, "userns", "cgroup2", "cc", ...DISK_TOOLS);
    await using root = berthRoot();
    const machinectl = await onBus(root);
    const source = join(root.path, "web.raw");
    const tree = await probeTree({ at: join(root.path, "tree"), init: true });
    makeDisk(source, { parts: [{ type: "root", size: 16 << 20, fs: "ext4", from: tree }] });
    expect(await machinectl("import-raw", source)).toMatchObject({ status: 0 });
    const image = join(root.machines, "web.raw");
    expect(readFileSync(image).equals(readFileSync(source))).toBe(true);
    expect((await machinectl("list-images")).stdout).toMatch(/^web +raw +no /m);
    const { stdout } = await machinectl("image-status", "web");
    expect(stdout).toContain("OS: berth test probe");
    expect(stdout).toContain(image);
    root.settings("web", "[Exec]\nKillSignal=SIGRTMIN+3");
    expect(await machinectl("start", "web")).toMatchObject({ status: 0 });
    expect((await machinectl("list")).stdout).toMatch(/^web +container +/m);
    const busy = await machinectl("export-raw", "web", join(root.path, "busy.raw"));
    expect([busy.status, busy.stderr]).toEqual([1, expect.stringContaining("machine web may change it")]);
    expect(await root.berth("poweroff", "web")).toMatchObject({ status: 0 });
    expect(await root.berth("wait", "web", "stopped")).toMatchObject({ status: 0 });

    const packed = join(root.path, "web.raw.xz");
    expect(await machinectl("export-raw", "web", packed)).toMatchObject({ status: 0 });
    expect(await machinectl("import-raw", "--read-only", packed, "again")).toMatchObject({ status: 0 });
    expect(readFileSync(join(root.machines, "again.raw")).equals(readFileSync(image))).toBe(true);
    expect((await machinectl("list-images")).stdout).toMatch(/^again +raw +yes /m);

    const server = createServer((request, response) => {
      if (request.url === "/far.raw.xz") response.end(readFileSync(packed));
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/far.raw.xz`;
      expect(await machinectl("pull-raw", "--verify=checksum", url)).toMatchObject({ status: 1 });
      expect(await machinectl("pull-raw", "--verify=no", url)).toMatchObject({ status: 0 });
      expect(readFileSync(join(root.machines, "far.raw")).equals(readFileSync(image))).toBe(true);
    } finally {
      server.close();
    }
    expect(await machinectl("remove", "far")).toMatchObject({ status: 0 });
    expect(images(root).sort()).toEqual(["again.raw", "web.raw"]);
  });

  test("pull-tar downloads and verifies; list-transfers and cancel-transfer see and end one", async () => {
    await using root = berthRoot();
    const machinectl = await onBus(root);
    const archive = tar([...OS, file("data", "x")]);
    const sum = createHash("sha256").update(archive).digest("hex");
    const server = createServer((request, response) => {
      if (request.url === "/web.tar") response.end(archive);
      else if (request.url === "/SHA256SUMS") response.end(`${sum}  web.tar\n`);
      else if (request.url === "/slow.tar?token=1")
        response.writeHead(200, { "content-length": 1 << 30 }).write(archive);
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      expect((await machinectl("list-transfers")).stdout).toContain("No transfers");
      expect(await machinectl("pull-tar", "--verify=checksum", `${url}/web.tar`)).toMatchObject({ status: 0 });
      expect(readFileSync(join(root.machines, "web/data"), "utf8")).toBe("x");

      // Of which nobody is shown the secret.
      const address = `${url}/slow.tar?token=1`;
      await using slow = root.spawn(machinectl.argv("pull-tar", "--verify=no", address, "slow"), {
        env: machinectl.env,
      });
      await poll("its beginning", () => (readdirSync(root.machines).length > 1 ? true : undefined));
      const { stdout } = await machinectl("list-transfers", "--no-legend");
      const [, id = "", rest] = /^\s*(\d+)\s+(.*)$/m.exec(stdout) ?? [];
      // 257 says of which class it is.
      expect(rest).toMatch(/pull-tar\s+(machine\s+)?slow\s+http:/);
      expect(await machinectl("pull-tar", "--verify=no", address, "other")).toMatchObject({
        status: 1,
        stderr: expect.stringContaining(`Transfer for ${address} already in progress.`),
      });
      expect(await machinectl("cancel-transfer", id)).toMatchObject({ status: 0 });
      expect((await slow.end).status).toBe(1);
      expect(await machinectl("cancel-transfer", id)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining(`no transfer ${id}`),
      });
      expect(images(root)).toEqual(["web"]);
      expect(readdirSync(root.machines)).toEqual(["web"]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test("what a killed daemon was making is gone when it is there again", async () => {
    await using root = berthRoot();
    const machinectl = await onBus(root);
    const pipe = join(root.path, "pipe");
    execFileSync("mkfifo", [pipe]);
    await using importing = root.spawn(
      ["sh", "-c", `exec 3<>${pipe}; exec "$@"`, "sh", ...machinectl.argv("import-tar", pipe, "web")],
      {
        env: machinectl.env,
      },
    );
    await poll("its workspace", () => readdirSync(root.machines)[0]);
    const { stdout } = await root.berth("daemon", "status", "--json");
    process.kill(JSON.parse(stdout).pid, "SIGKILL");
    // machinectl(1) goes on waiting for a signal of the transfer.
    importing.kill("SIGKILL");
    await importing.end;
    expect(readdirSync(root.machines).length).toBe(1);
    await onBus(root);
    await poll("the sweep", () => (readdirSync(root.machines).length === 0 ? true : undefined));
  });

  test("on btrfs with quotas set-limit and clone are what machinectl promises", async (ctx) => {
    needsHere(ctx, "tool:btrfs", ...toolsOf("btrfs"));
    await using root = berthRoot();
    using disk = await mountFileSystem("btrfs", join(root.path, "disk"), async () => undefined);
    execFileSync("mount", ["--bind", disk.path, root.machines]);
    try {
      execFileSync("btrfs", ["quota", "enable", root.machines]);
      writeFileSync(join(root.path, "web.tar"), tar([...OS, file("data", Buffer.alloc(1 << 20, 7))]));
      const machinectl = await onBus(root);
      expect(await machinectl("import-tar", join(root.path, "web.tar"))).toMatchObject({ status: 0 });
      expect(await machinectl("set-limit", "web", "100M")).toMatchObject({ status: 0, stderr: "" });
      expect((await machinectl("show-image", "web", "-p", "Limit", "--value")).stdout).toBe(`${100 << 20}\n`);
      expect(await machinectl("clone", "--read-only", "web", "copy")).toMatchObject({ status: 0, stderr: "" });
      expect((await machinectl("list-images")).stdout).toMatch(/^copy subvolume yes /m);
      expect(await machinectl("clean", "--all")).toMatchObject({ status: 0 });
      expect(existsSync(join(root.machines, "web"))).toBe(false);
      expect(await root.berth("daemon", "stop")).toMatchObject({ status: 0 });
    } finally {
      execFileSync("umount", [root.machines]);
    }
  });
});
