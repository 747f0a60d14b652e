import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type BootstrapOptions, bootstrap } from "../../src/bootstrap/bootstrap.ts";
import type { ProgressEvent } from "../../src/bootstrap/stage.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { newProcesses, readProcesses } from "../lib/processes.ts";
import { needs } from "../lib/requires.ts";
import { debianTree, TEST_CACHE, testPaths } from "../lib/trees.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const MINUTES = 60_000;

needs("root", "tool:mmdebstrap", "tool:unshare", "tool:getcap");
checkLeaks();

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "bootstrap-"));
  // mkdtemp's 0700 would hide whether the store itself keeps others out.
  await chmod(root, 0o755);
});
afterEach(() => rm(root, { recursive: true, force: true }));

function options(more: Partial<BootstrapOptions> = {}): BootstrapOptions {
  return {
    recipe: "bookworm",
    name: "web",
    paths: testPaths(root),
    signal: new AbortController().signal,
    onProgress: () => {},
    ...more,
  };
}

/** Of a directory that may not be there. */
async function names(path: string): Promise<string[]> {
  return readdir(path).then(
    (found) => found.sort(),
    () => [],
  );
}

describe("a machine of bookworm", () => {
  test("is a copy of the cached tree, in a store that only root gets into", { timeout: 5 * MINUTES }, async () => {
    const tree = await debianTree("bookworm");
    const events: ProgressEvent[] = [];
    const visible: boolean[] = [];
    const result = await bootstrap(
      options({
        onProgress: async (event) => {
          events.push(event);
          visible.push((await names(join(root, "machines"))).includes("web"));
        },
      }),
    );
    expect(result).toMatchObject({ path: join(root, "machines/web"), release: "bookworm", fromCache: true });
    expect(result.packages).toBeGreaterThan(100);
    expect(new Set(events.map((event) => event.stage))).toEqual(new Set(["copy"]));
    expect(new Set(visible)).toEqual(new Set([false]));
    expect(await readdir(join(root, "machines"))).toEqual([".berth-origins", "web"]);

    const store = await lstat(join(root, "machines"));
    expect([(store.mode & 0o7777).toString(8), store.uid, store.gid]).toEqual(["700", 0, 0]);
    const cache = await lstat(TEST_CACHE);
    expect([(cache.mode & 0o7777).toString(8), cache.uid]).toEqual(["700", 0]);
    const copy = manifest(result.path);
    expect(copy).toContainEqual(expect.stringMatching(/ping cap_net_raw=ep$/));
    expect(copy).toEqual(manifest(tree));
  });

  test("has what a machine needs and nothing of the host or of one machine", { timeout: 5 * MINUTES }, async () => {
    const tree = await debianTree("bookworm");
    const there = (path: string) => lstat(join(tree, path));
    const text = (path: string) => readFile(join(tree, path), "utf8");

    expect(((await lstat(tree)).mode & 0o7777).toString(8), "the machine's users get into its /").toBe("755");
    expect(await text("etc/os-release")).toContain("VERSION_CODENAME=bookworm");
    for (const path of [
      "sbin/init",
      "usr/bin/dbus-daemon",
      "usr/bin/apt-get",
      "usr/bin/ping",
      "usr/bin/ip",
      "bin/login",
    ]) {
      await expect(there(path), path).resolves.toBeDefined();
    }
    expect(await readdir(join(tree, "lib/x86_64-linux-gnu/security").replace("x86_64", archOfTree()))).toContain(
      "pam_systemd.so",
    );
    expect(await text("etc/shadow")).toMatch(/^root:[*!]/m);
    expect(await text("etc/apt/sources.list")).toMatch(/^deb \S+ bookworm-security main$/m);
    await expect(there("usr/share/doc/bash/copyright"), "licences stay").resolves.toBeDefined();

    for (const path of ["etc/machine-id", "etc/resolv.conf"]) {
      const file = await there(path);
      expect([path, file.isFile(), file.size, file.mode & 0o777]).toEqual([path, true, 0, 0o644]);
    }
    for (const path of ["dev", "run", "tmp"]) expect(await readdir(join(tree, path)), path).toEqual([]);
    const gone = [
      "etc/hostname",
      "var/lib/dbus/machine-id",
      "etc/apt/apt.conf.d/99mmdebstrap",
      "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
      "usr/share/perl/5.36.0",
    ];
    for (const path of gone) await expect(there(path), path).rejects.toThrow("ENOENT");
    expect(await readdir(join(tree, "var/cache/apt/archives"))).not.toContainEqual(expect.stringMatching(/\.deb$/));
    expect(
      manifest(tree).filter((line) => / [bcps] [0-7]{3,4} /.test(line)),
      "no nodes, fifos, sockets",
    ).toEqual([]);
  });

  test("may not have a name that is taken or wrong", { timeout: 5 * MINUTES }, async () => {
    await debianTree("bookworm");
    await mkdir(join(root, "machines/web"), { recursive: true });
    await writeFile(join(root, "machines/disk.raw"), "");
    await expect(bootstrap(options())).rejects.toThrow(`${root}/machines/web exists already`);
    await expect(bootstrap(options({ name: "disk" }))).rejects.toThrow("disk.raw exists already");
    await expect(bootstrap(options({ name: "../x" }))).rejects.toThrow("machine name");
    expect(await readdir(join(root, "machines"))).toEqual(["disk.raw", "web"]);
  });

  test("is made once when it is asked for twice at the same time", { timeout: 5 * MINUTES }, async () => {
    await debianTree("bookworm");
    const results = await Promise.allSettled([bootstrap(options()), bootstrap(options())]);
    expect(results.map((result) => result.status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(await readdir(join(root, "machines"))).toEqual([".berth-origins", "web"]);
  });
});

describe("when it does not work out, nothing is left", () => {
  test("of a release that the archive does not have, and it says why", { timeout: 3 * MINUTES }, async () => {
    const recipes = join(root, "recipes");
    await mkdir(recipes);
    const text = await readFile(fileURLToPath(new URL("../../bootstrap/debian.ini", import.meta.url)), "utf8");
    await writeFile(join(recipes, "debian.ini"), text.replaceAll("bookworm", "nosuchsuite"));
    const paths = { ...testPaths(root), recipes, cache: join(root, "cache") };
    await expect(bootstrap(options({ recipe: "nosuchsuite", paths }))).rejects.toMatchObject({
      message: expect.stringMatching(/bootstrap of debian\/nosuchsuite failed .*nosuchsuite/s),
      hint: expect.stringContaining("does not carry that release"),
    });
    expect(await names(join(root, "machines"))).toEqual([]);
    expect(await visible(join(root, "cache/trees"))).toEqual([]);
  });

  test("of a store that cannot be made: errno and path, no stack", async () => {
    await writeFile(join(root, "machines"), "");
    await expect(bootstrap(options())).rejects.toMatchObject({
      name: "BerthError",
      message: expect.stringMatching(/^bootstrap of web failed: (?:EEXIST|ENOTDIR).*machines/),
    });
  });

  test("of a copy that is aborted", { timeout: 5 * MINUTES }, async () => {
    await debianTree("bookworm");
    const abort = new AbortController();
    const onProgress = () => void setTimeout(() => abort.abort(), 20);
    await expect(bootstrap(options({ signal: abort.signal, onProgress }))).rejects.toMatchObject({
      message: expect.stringContaining("was interrupted"),
      exitStatus: 130,
    });
    expect(await names(join(root, "machines"))).toEqual([]);
  });

  test("of a ^C at any moment: no directory, no mount, no process", { timeout: 5 * MINUTES }, async () => {
    const labels = [
      "reading package indexes",
      "downloading",
      "extracting",
      "installing essential",
      "installing the other",
    ];
    const temporary = async () => (await readdir("/tmp")).filter((name) => name.startsWith("mmdebstrap."));
    const before = await temporary();
    const label = labels[Math.floor(Math.random() * labels.length)] ?? "";
    const { child, output, ended } = startBootstrap();
    while (!output.stderr.includes(label) && child.exitCode === null) await sleep(20);
    await sleep(Math.random() * 500);
    child.kill("SIGINT");
    expect(await ended, `during ${label}: ${output.stderr}`).toEqual([130, null]);
    expect(output.stderr).toContain("was interrupted; nothing of it is left");
    expect(await temporary()).toEqual(before);
    expect(await names(join(root, "machines"))).toEqual([]);
    expect(await visible(join(root, "cache/trees"))).toEqual([]);
  });

  test("of a kill -9: no process or mount at once, no directory after the next bootstrap", {
    timeout: 5 * MINUTES,
  }, async () => {
    const before = readProcesses();
    const { child, output, ended } = startBootstrap();
    while (!output.stderr.includes("extracting") && child.exitCode === null) await sleep(20);
    child.kill("SIGKILL");
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect((await names(join(root, "machines"))).length, "its working directory").toBe(1);
    await expect.poll(() => newProcesses(before, readProcesses()), { timeout: 5000 }).toEqual([]);
    await debianTree("bookworm");
    await bootstrap(options());
    expect(await readdir(join(root, "machines"))).toEqual([".berth-origins", "web"]);
  });
});

test("the command line: JSON alone on stdout, one line a stage on stderr, recipes know the cache", async () => {
  await debianTree("bookworm");
  const made = await berth(["bootstrap", "debian", "web", "--release", "bookworm", "--json"]);
  expect(made.status, made.stderr).toBe(0);
  expect(JSON.parse(made.stdout)).toMatchObject({ name: "web", release: "bookworm", fromCache: true });
  expect(made.stderr).toBe("web: copying the tree\n");

  const again = await berth(["bootstrap", "bookworm", "web"]);
  expect(again).toMatchObject({ status: 1, stdout: "" });
  expect(again.stderr).toMatch(/^berth: .*web exists already\nhint: /);
  expect(await berth(["bootstrap", "bookwrom", "web2"])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("did you mean bookworm?"),
  });

  const recipes = await berth(["recipes", "--json"]);
  expect(JSON.parse(recipes.stdout)).toContainEqual(
    expect.objectContaining({
      name: "debian",
      releases: expect.arrayContaining([
        expect.objectContaining({
          name: "bookworm",
          cached: expect.objectContaining({ packages: expect.any(Number) }),
        }),
      ]),
    }),
  );
  const table = await berth(["recipes"]);
  expect(table.stdout).toMatch(/^debian +bookworm +Debian 12 \(bookworm\) +mmdebstrap +\d{4}-\d\d-\d\d$/m);
});

/** Lock files are there for good. */
async function visible(trees: string): Promise<string[]> {
  return (await names(trees)).filter((name) => !name.startsWith(".lock-"));
}

function archOfTree(): string {
  return process.arch === "arm64" ? "aarch64" : "x86_64";
}

/** With an empty cache, so that it has to build. */
function startBootstrap() {
  return start(["bootstrap", "bookworm", "web"], { BERTH_CACHE: join(root, "cache") });
}

async function berth(args: readonly string[]) {
  const { output, ended } = start(args, { BERTH_CACHE: TEST_CACHE });
  const [status] = await ended;
  return { status, ...output };
}

function start(args: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, BERTH_ROOT: root, ...env } });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  return { child, output, ended: once(child, "close") };
}
