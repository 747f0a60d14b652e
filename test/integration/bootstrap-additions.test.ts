/** What a recipe adds to a distribution's packages: files, users, commands; and lock files. On trees that dnf makes. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import {
  BASE,
  type Key,
  makeKey,
  makeRpmRepository,
  type Server,
  serve,
  stopAgent,
  type TestPackage,
  writeRecipe,
} from "../lib/package-repositories.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "tool:dnf", "tool:rpm", "tool:createrepo_c", "tool:gpg");
checkLeaks();

let directory: string;
let key: Key;
let server: Server;

beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  directory = mkdtempSync(join(tmpdir(), "repositories-"));
  key = makeKey(directory);
  const linked: TestPackage = {
    name: "links",
    version: "1.0",
    requires: ["base"],
    // Absolute, as /var/run is: of the tree. And out of it, for who would join paths.
    post: "ln -s /opt/inner /inner; mkdir -p /opt/inner; ln -s ../../../../../../tmp /outer",
  };
  makeRpmRepository({
    directory: join(directory, "old"),
    packages: [BASE, { name: "extra", version: "1.0" }, linked],
    key,
  });
  makeRpmRepository({ directory: join(directory, "new"), packages: [BASE, { name: "extra", version: "2.0" }], key });
  stopAgent(key);
  server = await serve(directory);
  return async () => {
    await server[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  };
});

function recipe(root: BerthRoot, tree = "", repository = "old"): void {
  writeRecipe(root.path, { tool: "dnf", address: `${server.address}/${repository}`, keyrings: [key.file], tree });
}

function bootstrap(root: BerthRoot, ...options: readonly string[]): Promise<End> {
  return root.berth("bootstrap", "tiny", "web", "--no-cache", ...options);
}

function stored(root: BerthRoot): readonly string[] {
  return readdirSync(join(root.path, "machines")).filter((name) => name !== ".berth-origins");
}

const inTree = (root: BerthRoot, path: string): string => join(root.path, "machines/web", path);
const text = (root: BerthRoot, path: string): string => readFileSync(inTree(root, path), "utf8");
const owner = (root: BerthRoot, path: string): string => {
  const { uid, gid, mode } = statSync(inTree(root, path));
  return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
};

describe("file[]", () => {
  test("files are put where they are said to go, where the tree's own links lead, and never out of it", async () => {
    await using root = berthRoot();
    const tree = "package[] = links\nfile[] = motd /etc/motd\nfile[] = tool /usr/local/bin/tool 0755";
    recipe(root, `${tree}\nfile[] = motd /inner/motd 0600\nfile[] = motd /outer/berth-was-out`);
    writeFileSync(join(root.path, "etc/recipes/motd"), "hello\n");
    writeFileSync(join(root.path, "etc/recipes/tool"), "#!/bin/sh\n");
    const made = await bootstrap(root, "--run", "cat /inner/motd >/seen");
    expect(made.status, made.stderr).toBe(0);
    expect([text(root, "etc/motd"), owner(root, "etc/motd")]).toEqual(["hello\n", "0:0 644"]);
    expect(owner(root, "usr/local/bin/tool")).toBe("0:0 755");
    expect(readdirSync(tmpdir())).not.toContain("berth-was-out");
  });

  test("one that is not there is said before anything is built", async () => {
    await using root = berthRoot();
    recipe(root, "file[] = nothing /etc/motd");
    const end = await bootstrap(root);
    expect(end.stderr).toContain(
      `cannot read ${root.path}/etc/recipes/nothing, which the recipe puts into the tree: ENOENT: no such file or directory`,
    );
    expect(end.stderr).not.toContain("downloading");
    execFileSync("mkfifo", [join(root.path, "etc/recipes/nothing")]);
    expect((await bootstrap(root)).stderr).toContain("which the recipe puts into the tree: it is no regular file");
  });
});

describe("user[]", () => {
  test("users have an entry, a group, a home, their groups and a key, and can be run as", async () => {
    await using root = berthRoot();
    recipe(root, "user[] = me uid=1234 groups=adm,wheel key=me.pub\nuser[] = you");
    writeFileSync(join(root.path, "etc/recipes/me.pub"), "ssh-ed25519 AAAA me\n");
    const made = await bootstrap(root);
    expect(made.status, made.stderr).toBe(0);
    expect(text(root, "etc/passwd").split("\n").slice(1)).toEqual([
      "me:x:1234:1234:me:/home/me:/bin/sh",
      "you:x:1000:1000:you:/home/you:/bin/sh",
      "",
    ]);
    expect(text(root, "etc/group")).toBe("root:x:0:\nadm:x:4:me\nwheel:x:10:me\nme:x:1234:\nyou:x:1000:\n");
    expect(text(root, "etc/shadow")).toContain("\nme:*::0:99999:7:::\n");
    expect(owner(root, "home/me")).toBe("1234:1234 700");
    expect(owner(root, "home/me/.ssh/authorized_keys")).toBe("1234:1234 600");
    expect(text(root, "home/me/.ssh/authorized_keys")).toBe("ssh-ed25519 AAAA me\n");
    const ran = await root.berth("run", "-M", "web", "-q", "--pipe", "--user=me", "--", "/bin/id");
    expect(ran.stdout, ran.stderr).toMatch(/^uid=1234(\(me\))? gid=1234(\(me\))? groups=1234(\(me\))?,4(\(adm\))?,10/);
  });

  test.each([
    ["a name that is taken", "root", "the tree has one of that name already"],
    ["a uid that is taken", "me uid=1000\nuser[] = you uid=1000", "uid 1000 is another user's"],
    ["a group that is not there", "me groups=sudo", "the tree has no group sudo\nhint: it has root, adm, wheel"],
  ])("%s is an error, and nothing is left", async (_, user, message) => {
    await using root = berthRoot();
    recipe(root, `user[] = ${user}`);
    const end = await bootstrap(root);
    expect(end).toMatchObject({ status: 1, stderr: expect.stringContaining(message) });
    expect(stored(root)).toEqual([]);
  });
});

describe("run[], --run", () => {
  test("commands are run in the tree as root of a machine, one after the other", async () => {
    await using root = berthRoot();
    recipe(root, 'run[] = "cat /proc/self/uid_map >/map; echo one >/order"');
    const made = await bootstrap(root, "--run", "echo two >>/order; id >/id");
    expect(made.status, made.stderr).toBe(0);
    expect(text(root, "order")).toBe("one\ntwo\n");
    expect(text(root, "id")).toContain("uid=0");
    expect(text(root, "map")).toMatch(/^ +0 +[1-9]\d+ +65536\n$/);
    expect(owner(root, "order"), "the host's root on disk").toBe("0:0 644");
    expect(made.stderr).toContain("running the recipe's commands");
    expect(JSON.parse((await root.berth("list", "--json")).stdout)).toEqual([]);
  });

  test("one that fails is shown with its status and its last lines, and nothing is left", async () => {
    await using root = berthRoot();
    recipe(root);
    const end = await bootstrap(root, "--run", "echo said before; exit 7", "--run", "echo never >/x");
    expect(end).toMatchObject({ status: 1, stdout: "" });
    expect(end.stderr).toMatch(/berth: --run: "echo said before; exit 7" ended with status 7\n {2}said before\n/);
    expect(stored(root)).toEqual([]);
    recipe(root, "run[] = true\nrun[] = exit 3\n");
    expect((await bootstrap(root)).stderr).toMatch(
      /berth: \/.*\/tiny\.ini:\d+:9: \[tree\] run: "exit 3" ended with status 3\n/,
    );
    expect(stored(root)).toEqual([]);
  });

  test("one that reaches for the host changes nothing there", async () => {
    await using root = berthRoot();
    recipe(root);
    const attack =
      "mknod /node b 7 0; echo h >/proc/sysrq-trigger; echo x >/proc/sys/kernel/core_pattern; kill -9 -1; exit 0";
    const before = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
    const end = await bootstrap(root, "--run", attack, "--run", "ls /node && exit 1; exit 0");
    expect(end.status, end.stderr).toBe(0);
    expect(readFileSync("/proc/sys/kernel/core_pattern", "utf8")).toBe(before);
  });

  test("^C while one runs ends it, and nothing is left", async () => {
    await using root = berthRoot();
    recipe(root);
    await using child = root.start("bootstrap", "tiny", "web", "--no-cache", "--run", "sleep 600");
    await child.until(/running the recipe's commands/);
    await sleep(1000);
    child.kill("SIGINT");
    const end = await child.end;
    expect(end.status, end.stderr).toBe(130);
    expect(stored(root)).toEqual([]);
  });
});

describe("--lock, --locked", () => {
  test("what was installed is written down, kept with the image and installed again", async () => {
    await using root = berthRoot();
    recipe(root);
    const file = join(root.path, "lock.json");
    const made = await bootstrap(root, "--package", "extra", "--lock", file);
    expect(made.status, made.stderr).toBe(0);
    const lock = JSON.parse(readFileSync(file, "utf8"));
    expect(lock).toMatchObject({ version: 1, recipe: "tiny", release: "1", tool: "dnf" });
    expect(lock.sources).toEqual([`tiny ${server.address}/old`]);
    const digest = expect.stringMatching(/^[0-9a-f]{64}$/);
    const [base, extra] = [`base.${lock.architecture}`, `extra.${lock.architecture}`];
    expect(lock.packages).toEqual({ [base]: { version: "1.0-1", digest }, [extra]: { version: "1.0-1", digest } });
    expect(readFileSync(join(root.path, "machines/.berth-origins/web.json"), "utf8")).toBe(readFileSync(file, "utf8"));

    const again = await root.berth("bootstrap", "tiny", "web2", "--no-cache", "--locked", file);
    expect(again.status, again.stderr).toBe(0);
    expect(JSON.parse(readFileSync(join(root.path, "machines/.berth-origins/web2.json"), "utf8")).packages).toEqual(
      lock.packages,
    );
  });

  test("what is no longer there is named", async () => {
    await using root = berthRoot();
    recipe(root);
    const file = join(root.path, "lock.json");
    expect((await bootstrap(root, "--package", "extra", "--lock", file)).status).toBe(0);
    recipe(root, "", "new");
    const end = await root.berth("bootstrap", "tiny", "web2", "--no-cache", "--locked", file);
    expect(end).toMatchObject({ status: 1, stderr: expect.stringMatching(/extra-1\.0-1/) });
    expect(stored(root)).toEqual(["web"]);
  });

  test("a lock file of another release, or none, is refused", async () => {
    await using root = berthRoot();
    recipe(root);
    const file = join(root.path, "lock.json");
    writeFileSync(file, "{}");
    expect(await bootstrap(root, "--locked", file)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("no lock file"),
    });
    const lock = {
      version: 1,
      recipe: "debian",
      release: "sid",
      architecture: "x86_64",
      tool: "mmdebstrap",
      created: "",
      packages: {},
    };
    writeFileSync(file, JSON.stringify(lock));
    expect(await bootstrap(root, "--locked", file)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("the lock file is of debian/sid"),
    });
  });
});

test("the second machine of a recipe is a copy from the cache, unless something about it changed", async () => {
  await using root = berthRoot();
  recipe(root, "file[] = motd /etc/motd");
  const motd = join(root.path, "etc/recipes/motd");
  const cached = { env: { BERTH_CACHE: join(root.path, "cache") } };
  const make = async (name: string) => {
    const end = await root.spawn([BERTH, "bootstrap", "tiny", name, "--json"], cached).end;
    expect(end.status, end.stderr).toBe(0);
    return JSON.parse(end.stdout).fromCache;
  };
  writeFileSync(motd, "1\n");
  expect([await make("a"), await make("b")]).toEqual([false, true]);
  writeFileSync(motd, "2\n");
  expect(await make("c")).toBe(false);
  expect(readFileSync(join(root.path, "machines/c/etc/motd"), "utf8")).toBe("2\n");
});
