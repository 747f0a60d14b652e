/** Machines whose image is a stack of layers: what they see, where their changes go, and what is left of them. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { MERGED_PROBE } from "../lib/merged-tree.ts";
import { probe } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { type ProbeStack, probeStack, SHELL, sealByHand, withoutRw } from "../lib/stack-tree.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const USERS = [
  ["in a user namespace", []],
  ["without one", ["--private-users=no"]],
] as const;

/** Of one way to have users: what a shell in the machine says. */
function shell(root: BerthRoot, stack: ProbeStack, users: readonly string[], ...more: readonly string[]) {
  return async (script: string): Promise<string> => {
    const { status, stdout, stderr } = await root.run(
      stack.path,
      [...SHELL, "-M", "m", ...users, ...more],
      ["/bin/sh", "-ec", script],
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout;
  };
}

describe.each(USERS)("%s", (_, users) => {
  test("a machine changes its stack and no layer; the changes are there when it starts again", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    mkdirSync(join(stack.layer, "srv/deep/er"), { recursive: true });
    for (const name of ["gone", "kept", "deep/one", "deep/er/two"]) writeFileSync(join(stack.layer, "srv", name), name);
    const before = manifest(stack.layer);
    const says = shell(root, stack, users);
    await says(`rm /srv/gone; echo new >/srv/new; chown 5:6 /srv/new; echo more >>/srv/kept
      mv /srv/deep/er /srv/moved; rm -r /srv/deep; mkdir /srv/deep; echo three >/srv/deep/three; ln /srv/new /srv/linked`);
    expect(manifest(stack.layer)).toEqual(before);
    expect(lstatSync(join(stack.data, "srv/new"))).toMatchObject({ uid: 5, gid: 6, nlink: 2 });
    expect(lstatSync(join(stack.data, "srv/gone")).isCharacterDevice()).toBe(true);
    const all = await says("cd /srv; find . | sort; cat kept moved/two; stat -c %u:%g:%h new");
    expect(all.split(/\s+/)).toEqual(
      ". ./deep ./deep/three ./kept ./linked ./moved ./moved/two ./new keptmore deep/er/two5:6:2 ".split(" "),
    );
  });

  test("what was sealed is a layer as any other: what it hides stays hidden", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    mkdirSync(join(stack.layer, "srv/deep"), { recursive: true });
    for (const name of ["gone", "deep/one"]) writeFileSync(join(stack.layer, "srv", name), name);
    const says = shell(root, stack, users);
    await says("rm /srv/gone; rm -r /srv/deep; mkdir /srv/deep; echo two >/srv/deep/two");
    sealByHand(root, "m", stack);
    expect(await says("cd /srv; find . | sort; echo three >deep/three")).toBe(".\n./deep\n./deep/two\n");
    expect(await says("cd /srv; find . | sort")).toBe(".\n./deep\n./deep/three\n./deep/two\n");
    expect(readdirSync(stack.data)).toEqual(["srv"]);
  });

  test("Ephemeral=, -x: on top of a stack with changes, of which nothing is left", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    writeFileSync(join(stack.layer, "lower"), "lower");
    await shell(root, stack, users)("echo data >/data; rm /lower");
    const before = manifest(stack.data);
    const says = shell(root, stack, users, "-x");
    expect(await says("ls -d /lower /data 2>/dev/null || true; echo more >>/data; rm -r /opt; cat /data")).toBe(
      "/data\ndata\nmore\n",
    );
    expect(manifest(stack.data)).toEqual(before);
    expect(readdirSync(root.machines).filter((name) => name.startsWith(".berth-layer-"))).toEqual([]);
  });

  test.each([
    ["ReadOnly=", ["--read-only"], "/"],
    ["Volatile=state", ["--volatile=state"], "/"],
  ])("%s: nothing can be written to a stack", async (_, options, place) => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    await shell(root, stack, users)("echo data >/data");
    const before = manifest(stack.data);
    const says = shell(root, stack, users, ...options, "--bind-ro=/etc:/new/place");
    expect(await says(`echo x 2>/dev/null >${place}new || echo refused; cat /data; ls -d /new/place`)).toBe(
      "refused\ndata\n/new/place\n",
    );
    expect(manifest(stack.data)).toEqual(before);
  });

  test("Volatile=overlay, Volatile=yes: a stack is written to in memory, or gives its /usr alone", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    await shell(root, stack, users)("echo data >/data");
    mkdirSync(join(stack.data, "usr"), { mode: 0o755 });
    writeFileSync(join(stack.data, "usr/changed"), "changed");
    const before = manifest(stack.data);
    const says = shell(root, stack, users, "--volatile=overlay");
    expect(await says("cat /data; echo more >/data; rm -r /opt; mkdir /opt; ls /opt; cat /data")).toBe("data\nmore\n");
    const words = [MERGED_PROBE, "ls", "/usr", "--", "ls", "/", "--", "write", "/usr/x", "x"];
    const { stdout } = await root.run(stack.path, ["-q", "--volatile=yes", ...users], words);
    expect(stdout).toMatch(/"changed","kept"|"bin","changed"/);
    expect(stdout).not.toContain('"data"');
    expect(stdout).toContain("EROFS");
    expect(manifest(stack.data)).toEqual(before);
  });

  test("one without rw is read-only", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    writeFileSync(join(stack.layer, "lower"), "lower");
    withoutRw(stack);
    const says = shell(root, stack, users);
    expect(await says("cat /lower; echo x 2>/dev/null >/new || echo refused")).toBe("lowerrefused\n");
  });
});

describe("by name", () => {
  test("run, plan, status and list know machine m, whose tree is m.mstack", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    expect((await root.berth("plan", "-M", "m", "--", ...probe("cwd"))).stdout).toContain(
      "make overlay of layer:0 and rw as",
    );
    await using child = root.start("run", "-M", "m", "--console=read-only", "--", ...probe("init", "--term"));
    await child.until(/^up/m);
    expect((await root.berth("exec", "m", "--", ...probe("cwd"))).status).toBe(0);
    expect((await root.berth("list")).stdout).toMatch(/m .*probe/);
    expect(await root.recordWhen("m")).toMatchObject({ root: stack.path, os: "probe" });
    // It is locked, as a tree is.
    const second = await root.run(stack.path, ["-M", "other"], probe("cwd"));
    expect(second.stderr).toContain("in use by another machine");
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
    expect((await root.berth("list", "--all")).stdout).toMatch(/^m /m);
  });

  test("a tree of the name comes before the stack of the name", async () => {
    await using root = berthRoot();
    await probeStack(root, "m");
    mkdirSync(join(root.machines, "m"));
    expect((await root.berth("plan", "-M", "m", "--", "true")).stdout).not.toContain("layer:0");
  });

  test("a layer outside of the store's layers is refused, and so is what is no layer", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    const refused = async (what: string): Promise<void> => {
      const { status, stderr } = await root.run(stack.path, [], probe("cwd"));
      expect([status, stderr]).toEqual([125, expect.stringContaining(what)]);
    };
    for (const target of [
      "/",
      "../../etc",
      "../.berth-layers/../x/tree",
      "../.berth-layers/m1",
      "../.berth-layers/m1/tree/etc",
    ]) {
      symlinkSync(target, join(stack.path, "layer@01"));
      await refused("layer@01 leads to");
      rmSync(join(stack.path, "layer@01"));
    }
    symlinkSync("../.berth-layers/gone/tree", join(stack.path, "layer@01"));
    await refused("is no directory, or gone");
    rmSync(join(stack.path, "layer@01"));
    mkdirSync(join(stack.path, "bind@srv"));
    await refused("which no layer is called");
  });

  test("what a machine is to have of its own tree is refused with what helps", async () => {
    await using root = berthRoot();
    const stack = await probeStack(root, "m");
    for (const option of ["--bind=+/opt:/mnt", "--overlay=+/opt::/mnt", "--pivot-root=/usr"]) {
      const { status, stderr } = await root.run(stack.path, [option], probe("cwd"));
      expect([status, stderr]).toEqual([125, expect.stringMatching(/stack of layers.*\n.*--driver=directory/)]);
    }
    expect(existsSync(join(stack.data, "opt"))).toBe(false);
    expect(readFileSync(join(stack.layer, "etc/os-release"), "utf8")).toContain("probe");
  });
});
