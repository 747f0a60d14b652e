/** What a machine shares with others: its tree and its ids, with those of systemd-nspawn too, its name, and its layer's place. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { lockFile } from "../../src/exec/lock-file.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { placesOf } from "../../src/machine/places.ts";
import { isLocked } from "../../src/sys/file-lock.ts";
import { closeQuietly } from "../../src/sys/files.ts";
import { type BerthRoot, berthRoot, buildBerth, isRunning, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const ownTree = (root: BerthRoot): Promise<string> => probeTree({ at: join(root.machines, "tree") });

function lockOf(tree: string): string {
  const { dev, ino } = statSync(tree, { bigint: true });
  return `/run/systemd/nspawn/locks/inode-${dev}:${ino}`;
}

/** A machine `name` of the tree that runs until it is told to end. */
async function up(root: BerthRoot, tree: string, name: string, ...more: readonly string[]) {
  const words = ["run", "-D", tree, "-M", name, "--console=read-only", ...more, "--", ...probe("init", "--term")];
  const child = root.start(...words);
  await child.until(/^up/m);
  return child;
}

describe("a tree", () => {
  test("is one machine's at a time, unless the others throw their changes away", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using a = await up(root, tree, "a");
    const refused = await root.run(tree, ["-M", "b"], probe("cwd"));
    expect(refused).toMatchObject({ status: 125, stdout: "" });
    expect(refused.stderr).toContain(`${tree} is in use by another machine`);
    expect(refused.stderr).toMatch(/^hint: -x runs one beside it/m);
    expect((await root.run(tree, ["-x", "-M", "c"], probe("cwd"))).status).toBe(0);
    a.kill();
    expect((await a.end).status).toBe(0);
    expect(existsSync(lockOf(tree))).toBe(false);
    expect((await root.run(tree, ["-M", "b"], probe("cwd"))).status).toBe(0);
  });

  test("is free for machines that write to it while others do not", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using a = await up(root, tree, "a", "-x");
    expect((await root.run(tree, ["-M", "b"], probe("cwd"))).status).toBe(0);
    a.kill();
    expect((await a.end).status).toBe(0);
  });

  test("whose lock file a killed manager has left is free", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    closeQuietly(lockFile(lockOf(tree)) ?? -1);
    expect(existsSync(lockOf(tree))).toBe(true);
    expect((await root.run(tree, ["-M", "a"], probe("cwd"))).status).toBe(0);
    expect(existsSync(lockOf(tree))).toBe(false);
  });
});

describe("systemd-nspawn", () => {
  /** In a cgroup of its own, since it leaves some in the one it is started in. */
  class Nspawn implements AsyncDisposable {
    readonly #cgroup = `berth-nspawn-${process.pid}`;
    readonly #child: ChildProcess;
    readonly end: Promise<number | null>;
    output = "";

    constructor(tree: string, words: readonly string[], command: readonly string[]) {
      const cgroup = join(readHostFacts().cgroup.mount ?? "", this.#cgroup);
      const enter = 'mkdir "$0" && echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"';
      const where = ["--register=no", "--keep-unit", "--private-network", "--console=pipe", "-D", tree];
      this.#child = spawn("sh", ["-c", enter, cgroup, ...where, ...words, ...command], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      for (const stream of [this.#child.stdout, this.#child.stderr])
        stream?.on("data", (data: Buffer) => (this.output += data.toString()));
      this.end = once(this.#child, "close").then(([status]) => status as number | null);
    }

    async [Symbol.asyncDispose](): Promise<void> {
      this.#child.kill("SIGTERM");
      await this.end;
      await poll("its cgroups' end", () => {
        try {
          execFileSync("find", ["/sys/fs/cgroup", "-depth", "-path", `*/${this.#cgroup}*`, "-type", "d", "-delete"]);
          return true;
        } catch {
          return undefined;
        }
      });
    }
  }

  test("and berth heed each other's locks of a tree", async (ctx) => {
    needsHere(ctx, "systemd-nspawn");
    await using root = berthRoot();
    const tree = await ownTree(root);
    {
      await using a = await up(root, tree, "a");
      await using refused = new Nspawn(tree, ["--private-users=pick"], probe("cwd"));
      expect(await refused.end).toBe(1);
      expect(refused.output).toContain("currently busy");
      a.kill();
      await a.end;
    }
    {
      await using nspawn = new Nspawn(tree, ["--private-users=pick"], probe("init", "--term"));
      await poll("nspawn's machine", () => (nspawn.output.includes("up") ? true : undefined));
      const refused = await root.run(tree, ["-M", "a"], probe("cwd"));
      expect(refused.stderr).toContain(`${tree} is in use by another machine`);
      expect(refused.status).toBe(125);
    }
    rmSync(join(root.machines, ".#tree.lck"), { force: true });
    expect((await root.run(tree, ["-M", "a"], probe("cwd"))).status).toBe(0);
  });

  test("and berth heed each other's locks of ids", async (ctx) => {
    needsHere(ctx, "systemd-nspawn");
    await using root = berthRoot();
    const tree = await ownTree(root);
    const other = await probeTree({ at: join(root.machines, "other") });
    const base = 524288 + 1234 * 65536;
    // It tries the owner of the tree first.
    chownSync(other, base, base);
    const picks = ["--private-users=pick", "--private-users-ownership=off"];
    const map = ["cat", "/proc/self/uid_map"];
    {
      await using nspawn = new Nspawn(other, picks, probe(...map, "--", "init", "--term"));
      await poll("nspawn's machine", () => (nspawn.output.includes("up") ? true : undefined));
      expect(nspawn.output).toMatch(new RegExp(`^ +0 +${base} `, "m"));
      expect(isLocked(`/run/systemd/nspawn-uid/${base}`)).toBe(true);
      const refused = await root.run(tree, ["-M", "a", `--private-users=${base}`], probe("cwd"));
      expect(refused.stderr).toContain(
        `the ids from ${base} to ${base + 65535} are in use by another running container`,
      );
      expect(refused.status).toBe(125);
    }
    await using a = await up(root, tree, "a", `--private-users=${base}`);
    await using nspawn = new Nspawn(other, picks, probe(...map));
    await nspawn.end;
    expect(nspawn.output).toMatch(/^ +0 +\d+ /m);
    expect(nspawn.output).not.toMatch(new RegExp(`^ +0 +${base} `, "m"));
    a.kill();
    await a.end;
    rmSync(join(root.machines, ".#other.lck"), { force: true });
  });
});

describe("a running machine", () => {
  test("whose lock somebody removed is not taken for a dead one", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using child = await up(root, tree, "m", "-x");
    const { leader } = await root.recordWhen("m");
    rmSync(join(root.path, "run/locks/m"));
    const refused = await root.run(tree, ["-x", "-M", "m"], probe("cwd"));
    expect(refused).toMatchObject({ status: 125, stdout: "" });
    expect(refused.stderr).toMatch(
      /machine m is running already, or what is left of it could not be cleaned up: .*\/m/,
    );
    expect(refused.stderr).toMatch(/^hint: berth list/m);
    expect(isRunning(leader.pid)).toBe(true);
    expect((await root.berth("exec", "m", "--", ...probe("cwd"))).status).toBe(0);
    child.kill();
    expect((await child.end).status).toBe(0);
  });

  test("of which somebody removed all that tells of it is still not replaced", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const other = await probeTree({ at: join(root.machines, "other") });
    await using child = await up(root, tree, "m");
    const { leader, cgroup } = await root.recordWhen("m");
    for (const directory of ["locks", "running"]) rmSync(join(root.path, "run", directory, "m"), { recursive: true });
    const refused = await root.run(other, ["-M", "m"], probe("cwd"));
    expect(refused).toMatchObject({ status: 125, stdout: "" });
    expect(refused.stderr).toContain(`machine m is running already, there are processes in ${cgroup}`);
    expect(isRunning(leader.pid)).toBe(true);
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(existsSync(cgroup)).toBe(false);
  });

  test("can't nest its cgroups without end, nor change that", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const cgroups = "/sys/fs/cgroup";
    const levels = Array.from({ length: 65 }, (_, level) => cgroups + "/n".repeat(level + 1));
    const talk = levels.flatMap((path) => ["mkdir", path, "--"]);
    const { stdout } = await root.run(tree, [], probe(...talk, "write", `${cgroups}/cgroup.max.depth`, "max"));
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { verb: string; error?: string });
    expect(lines.filter(({ error }) => error === undefined)).toHaveLength(64);
    expect(lines.slice(64)).toEqual([
      { verb: "mkdir", error: "EAGAIN" },
      { verb: "write", error: "EACCES" },
    ]);
  });
});

describe("the layer of an ephemeral machine", () => {
  const layerOf = (root: BerthRoot, tree: string, name: string): string =>
    placesOf(name, tree, { etc: "", run: join(root.path, "run"), machines: root.machines, cache: "", recipes: "" })
      .layer;

  test("has nothing of what somebody planted in its place", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const layer = layerOf(root, tree, "m");
    for (const part of ["data/etc", "work"]) mkdirSync(join(layer, part), { recursive: true });
    for (const path of [layer, join(layer, "data")]) chmodSync(path, 0o777);
    for (const file of ["data/planted", "data/etc/os-release"]) writeFileSync(join(layer, file), "planted");
    await using child = await up(root, tree, "m", "-x");
    expect(lstatSync(layer)).toMatchObject({ uid: 0 });
    expect(lstatSync(layer).mode & 0o7777).toBe(0o700);
    expect((await root.berth("exec", "m", "--", ...probe("cat", "/planted"))).stdout).toContain("ENOENT");
    expect((await root.berth("exec", "m", "--", ...probe("cat", "/etc/os-release"))).stdout).toContain("ID=probe");
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(existsSync(layer)).toBe(false);
  });

  test("stays when the machine reboots, and ends with it", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using child = await up(root, tree, "m", "-x");
    const { leader, layer } = await root.recordWhen("m");
    await root.berth("exec", "m", "--", ...probe("write", "/kept", "from before"));
    await root.berth("exec", "m", "--", ...probe("reboot", "restart"));
    await root.recordWhen("m", (record) => record.leader.pid !== leader.pid);
    await poll("its init", () => (/up/.test(root.consoleLog("m")) ? true : undefined));
    expect((await root.berth("exec", "m", "--", ...probe("cat", "/kept"))).stdout).toBe("from before");
    child.kill();
    expect((await child.end).status).toBe(0);
    expect(existsSync(layer ?? "")).toBe(false);
    expect(readdirSync(tree)).not.toContain("kept");
  });

  test("that is not berth's own any more ends the machine when it reboots", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using child = await up(root, tree, "m", "-x");
    await root.recordWhen("m");
    const layer = layerOf(root, tree, "m");
    chmodSync(layer, 0o755);
    await root.berth("exec", "m", "--", ...probe("reboot", "restart"));
    const { status, stderr } = await child.end;
    expect(status).toBe(125);
    expect(stderr).toContain(`${layer} is not the layer that berth made: owner 0, mode 755 instead of ours, 700`);
    expect(readFileSync(join(tree, "etc/os-release"), "utf8")).toContain("ID=probe");
    rmSync(layer, { recursive: true });
  });
});
