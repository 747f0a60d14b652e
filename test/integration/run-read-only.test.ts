/** ReadOnly=: a tree that a machine can't change, and that several share; files of it that follow the host. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { nspawn } from "../lib/nspawn.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const USERS = [
  ["in a user namespace", []],
  ["without one", ["--private-users=no"]],
] as const;

function ownTree(root: BerthRoot, name = "own"): Promise<string> {
  return probeTree({ at: join(root.machines, name) });
}

describe.each(USERS)("%s", (_, users) => {
  test("ReadOnly=yes, --read-only: nothing of the tree can be written; /dev, /run, /tmp and what is bound can", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const data = root.directory("data", 0o777);
    mkdirSync(join(tree, "mnt"));
    const before = manifest(tree);
    const talk = interview({
      root: ["write", "/new", "x"],
      etc: ["write", "/etc/os-release", "x"],
      var: ["mkdir", "/var/new"],
      dev: ["write", "/dev/new", "x"],
      run: ["write", "/run/new", "x"],
      tmp: ["write", "/tmp/new", "x"],
      bind: ["write", "/mnt/new", "x"],
    });
    const options = ["-q", ...users, `--bind=${data}:/mnt:norbind`];
    for (const way of ["option", "file"]) {
      if (way === "file") root.settings("own", "[Files]\nReadOnly=yes");
      const { stdout } = await root.run(tree, [...options, ...(way === "option" ? ["--read-only"] : [])], talk.command);
      const answers = talk.answers(stdout);
      const refused = { root: "EROFS", etc: "EROFS", var: "EROFS" };
      const made = { dev: undefined, run: undefined, tmp: undefined, bind: undefined };
      expect(answers.errors(["root", "etc", "var", "dev", "run", "tmp", "bind"]), way).toEqual({ ...refused, ...made });
    }
    expect(readFileSync(join(data, "new"), "utf8")).toBe("x");
    expect(manifest(tree)).toEqual(before);
  });

  test("ReadOnly= holds for what is mounted below the tree, too, and leaves the host's mounts as they are", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    mkdirSync(join(tree, "srv"));
    const other = root.directory("other", 0o777);
    spawnSync("mount", ["--bind", other, join(tree, "srv")]);
    try {
      const { stdout } = await root.run(tree, ["-q", "--read-only", ...users], probe("write", "/srv/new", "x"));
      expect(stdout).toContain('"error":"EROFS"');
      writeFileSync(join(tree, "srv/host"), "");
      writeFileSync(join(tree, "host"), "");
    } finally {
      spawnSync("umount", [join(tree, "srv")]);
    }
  });
});

test("root inside can't make a read-only tree writable again", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const talk = interview({ remount: ["remount-rw", "/"], write: ["write", "/new", "x"] });
  const { stdout } = await root.run(tree, ["--read-only"], talk.command);
  expect(talk.answers(stdout).errors(["remount", "write"])).toEqual({ remount: "EPERM", write: "EROFS" });
});

test("--read-only: mount points that the tree lacks are made in it, and stay for whoever else uses it", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  rmdirSync(join(tree, "proc"));
  const file = join(root.directory("data"), "file");
  writeFileSync(file, "of the host");
  const { status, stdout } = await root.run(
    tree,
    ["--read-only", `--bind-ro=${file}:/new/file`],
    probe("cat", "/new/file"),
  );
  expect([status, stdout]).toEqual([0, "of the host"]);
  for (const path of ["proc", "new/file"]) expect(existsSync(join(tree, path)), path).toBe(true);
});

test("a mount point that is missing on a read-only file system is named, with a way out", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  rmdirSync(join(tree, "proc"));
  spawnSync("mount", ["--bind", "-o", "ro", tree, tree]);
  try {
    const { status, stderr } = await root.run(tree, [], probe("cwd"));
    expect(status).toBe(125);
    expect(stderr).toMatch(/\(attach proc on \/proc .*mkdirat proc: EROFS/);
    expect(stderr).toContain("hint: the tree can't be written to and has no such directory");
    expect((await root.run(tree, ["--volatile=overlay"], probe("cwd"))).status).toBe(0);
  } finally {
    spawnSync("umount", [tree]);
  }
});

describe("the tree's lock", () => {
  const up = async (root: BerthRoot, tree: string, name: string, ...options: string[]) => {
    const words = ["-D", tree, "-M", name, "--console=read-only", ...options, "--", ...probe("init", "--term")];
    const child = root.start("run", ...words);
    await child.until(/^up/m);
    return child;
  };

  test("ReadOnly= and Volatile= share it with their like, and with nobody who writes", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using first = await up(root, tree, "first", "--read-only");
    await using second = await up(root, tree, "second", "--read-only");
    await using third = await up(root, tree, "third", "--volatile=overlay");
    const writer = await root.run(tree, ["-M", "writer"], probe("cwd"));
    expect(writer).toMatchObject({ status: 125, stdout: "" });
    expect(writer.stderr).toContain(`${tree} is in use by another machine`);
    first.kill();
    await first.end;
    // What one leaves holds for the others still.
    expect((await root.run(tree, ["-M", "writer"], probe("cwd"))).status).toBe(125);
    for (const child of [second, third]) {
      child.kill();
      expect((await child.end).status).toBe(0);
    }
    expect((await root.run(tree, ["-M", "writer"], probe("write", "/new", "x"))).status).toBe(0);
  });

  test("who writes has it alone", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using writer = await up(root, tree, "writer");
    const reader = await root.run(tree, ["-M", "reader", "--read-only"], probe("cwd"));
    expect(reader.status).toBe(125);
    expect(reader.stderr).toContain(`${tree} is in use by another machine that may change it`);
    expect((await root.run(tree, ["-M", "beside", "-x"], probe("cwd"))).status).toBe(0);
    writer.kill();
    await writer.end;
  });

  test("is the one that systemd-nspawn takes", async (ctx) => {
    needsHere(ctx, "systemd-nspawn");
    await using root = berthRoot();
    const tree = await ownTree(root);
    await using reader = await up(root, tree, "reader", "--read-only");
    expect(nspawn(["-D", tree, "/probe", "cwd"]).stderr).toMatch(/is currently busy/);
    reader.kill();
    await reader.end;
  });
});

describe("/etc/resolv.conf of a read-only tree, with the host's network", () => {
  const path = "/etc/resolv.conf";
  const servers = "nameserver 192.0.2.53\n";
  const ways: Readonly<Record<string, (file: string) => void>> = {
    "a file": (file) => writeFileSync(file, servers),
    missing: () => undefined,
    "a link that leads out of the tree": (file) => symlinkSync("../../../../../../../../../etc/hostname", file),
    "a link to nothing": (file) => symlinkSync("/run/nothing", file),
    "a link to itself": (file) => symlinkSync("resolv.conf", file),
    "a directory": (file) => mkdirSync(file),
    "an immutable file": (file) => {
      writeFileSync(file, servers);
      spawnSync("chattr", ["+i", file]);
    },
  };

  test.each(Object.keys(ways))(
    "ResolvConf=auto, where it is %s: the machine starts and the tree stays as it was",
    async (way) => {
      await using root = berthRoot();
      const tree = await ownTree(root);
      const file = join(tree, path);
      ways[way]?.(file);
      const before = manifest(tree);
      const canary = readFileSync("/etc/hostname", "utf8");
      try {
        for (const options of [["--read-only"], ["--volatile=overlay"], ["-x"], []]) {
          const { status, stdout, stderr } = await root.run(
            tree,
            ["-q", "--host-network", ...options],
            probe("cwd", "--", "cat", path),
          );
          expect(stderr, `${options}`).toBe("");
          const isFile = way === "a file" || way === "an immutable file";
          if (isFile && options[0] === "--read-only")
            expect([status, stdout]).toEqual([0, expect.stringContaining(readFileSync(path, "utf8"))]);
          if (options.length > 0) expect(manifest(tree), `${options}`).toEqual(before);
        }
        expect(readFileSync("/etc/hostname", "utf8")).toBe(canary);
      } finally {
        if (way === "an immutable file") spawnSync("chattr", ["-i", file]);
      }
    },
  );

  test.each(["copy-host", "replace-host", "delete"])(
    "--resolv-conf=%s is refused: it would write to the tree",
    async (mode) => {
      await using root = berthRoot();
      const tree = await ownTree(root);
      const { status, stdout, stderr } = await root.run(tree, ["--read-only", `--resolv-conf=${mode}`], probe("cwd"));
      expect([status, stdout]).toEqual([125, ""]);
      expect(stderr).toContain("/etc/resolv.conf of");
      expect(stderr).toContain("hint: ResolvConf=bind-host mounts the host's file over it");
    },
  );

  test("--resolv-conf=bind-host has a file made for it to lie on", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const { stdout } = await root.run(tree, ["--read-only", "--resolv-conf=bind-host"], probe("cat", path));
    expect(stdout).toBe(readFileSync(path, "utf8"));
    rmSync(join(tree, path));
  });
});

test("--private-users-ownership=chown and --read-only don't go together", async () => {
  await using root = berthRoot();
  const tree = await ownTree(root);
  const { status, stderr } = await root.run(tree, ["--read-only", "--private-users-ownership=chown"], probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toContain("a read-only machine would change the owners in");
  expect(stderr).toContain("hint: PrivateUsersOwnership=map changes nothing on disk");
});
