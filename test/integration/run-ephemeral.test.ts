/** Ephemeral machines, and the files of a tree that follow the host: /etc/resolv.conf and /etc/localtime. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { RESOLV_CONF_MODES, TIMEZONE_MODES } from "../../src/spec/machine-spec.ts";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

const SERVERS = "nameserver 192.0.2.53\n";

/** A tree of this root's own with an /etc/resolv.conf. */
async function ownTree(root: BerthRoot, name = "own"): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, name) });
  writeFileSync(join(tree, "etc/resolv.conf"), SERVERS);
  return tree;
}

describe("an ephemeral machine", () => {
  test("-x changes a layer, in which its files are root's, and leaves nothing of it nor in its tree", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const before = manifest(tree);
    const talk = ["write", "/etc/os-release", "changed", "--", "write", "/new", "x", "--", "mkdir", "/made"];
    const words = ["-x", "-D", tree, "-M", "m", "--console=read-only", "--resolv-conf=delete"];
    const all = [...talk, "--", "init", "--term"];
    await using child = root.start("run", ...words, "--", ...probe(...all));
    await child.until(/^up/m);
    const { layer } = await root.recordWhen("m");
    const data = join(layer ?? "", "data");
    for (const name of ["new", "made", "etc", "etc/os-release"])
      expect(lstatSync(join(data, name)), name).toMatchObject({ uid: 0, gid: 0 });
    expect(readFileSync(join(data, "etc/os-release"), "utf8")).toBe("changed");
    // A whiteout: overlayfs(5), character device 0/0.
    expect(lstatSync(join(data, "etc/resolv.conf"))).toMatchObject({ rdev: 0 });
    expect(lstatSync(join(data, "etc/resolv.conf")).isCharacterDevice()).toBe(true);
    // The file that was there is held until the machine runs, in case it does not.
    await poll("the end of the old file", () => (readdirSync(join(data, "etc")).length === 2 ? true : undefined));
    const { stdout } = await root.berth("exec", "m", "--", ...probe("ls", "/etc"));
    expect(stdout).toContain('"names":["os-release"]');
    child.kill("SIGTERM");
    expect((await child.end).status).toBe(0);
    expect(existsSync(layer ?? "")).toBe(false);
    expect(manifest(tree)).toEqual(before);
  });

  test("--ephemeral: several of one tree run at once under names of their own", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const children = [1, 2].map(() => root.start("run", "-x", "-D", tree, "--pipe", "--", ...probe("init", "--term")));
    for (const child of children) await child.until(/^up/m);
    const names = readdirSync(join(root.path, "run/running"));
    expect(names).toHaveLength(2);
    for (const name of names) expect(name).toMatch(/^own-[0-9a-f]{8}$/);
    // Before berth has heard that it runs, a signal ends the launch.
    await Promise.all(names.map((name) => root.recordWhen(name, ({ state }) => state === "running")));
    for (const child of children) child.kill("SIGTERM");
    for (const child of children) expect((await child.end).status).toBe(0);
  });

  test("Ephemeral=yes of a settings file does the same", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    root.settings("own", "[Exec]\nEphemeral=yes");
    expect((await root.run(tree, [], probe("write", "/new", "x"))).status).toBe(0);
    expect(existsSync(join(tree, "new"))).toBe(false);
  });

  test("without it the tree changes", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    expect((await root.run(tree, [], probe("write", "/new", "x"))).status).toBe(0);
    expect(lstatSync(join(tree, "new"))).toMatchObject({ uid: 0, gid: 0 });
  });
});

describe("/etc/resolv.conf", () => {
  const path = "/etc/resolv.conf";
  const sources: Record<string, string> = {
    host: "/etc/resolv.conf",
    static: "/usr/lib/systemd/resolv.conf",
    uplink: "/run/systemd/resolve/resolv.conf",
    stub: "/run/systemd/resolve/stub-resolv.conf",
  };
  /** What a mode makes of a file with SERVERS in it: the content of the host's file where there is that. */
  const wanted = (mode: string): string => {
    const [how, what = ""] = mode.split("-");
    const source = sources[what];
    if (how === "off" || how === "auto" || source === undefined || !existsSync(source)) return SERVERS;
    return readFileSync(source, "utf8");
  };

  const keeping = RESOLV_CONF_MODES.filter((mode) => mode !== "delete");

  test.each(keeping)("ResolvConf=%s, over a file", async (mode) => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    const { stdout, status } = await root.run(tree, [`--resolv-conf=${mode}`], probe("cat", path));
    expect({ status, stdout }).toEqual({ status: 0, stdout: wanted(mode) });
    const kept = mode.startsWith("bind-") ? SERVERS : wanted(mode);
    expect(readFileSync(join(tree, path), "utf8")).toBe(kept);
    expect(lstatSync(join(tree, path))).toMatchObject({ uid: 0, gid: 0 });
    expect(readdirSync(join(tree, "etc")).sort()).toEqual(["os-release", "resolv.conf"]);
  });

  test("delete takes it away", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    await root.run(tree, ["--resolv-conf=delete"], probe("cwd"));
    expect(existsSync(join(tree, path))).toBe(false);
  });

  test("a bound one cannot be written, and a mount point made for it is gone afterwards", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    rmSync(join(tree, path));
    const talk = interview({ read: ["cat", path], write: ["write", path, "x"], remount: ["remount-rw", path] });
    const answers = talk.answers((await root.run(tree, ["--resolv-conf=bind-host"], talk.command)).stdout);
    expect(answers.text("read")).toBe(readFileSync(path, "utf8"));
    expect(answers.errors(["write", "remount"])).toEqual({ write: "EROFS", remount: "EPERM" });
    expect(existsSync(join(tree, path))).toBe(false);
  });

  test("--resolv-conf=auto: with the host's network the host's servers are copied, with an own network nothing is", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    rmSync(join(tree, path));
    expect((await root.run(tree, [], probe("ls", "/etc"))).stdout).toContain('"names":["os-release"]');
    const shared = await root.run(tree, ["-q", "--host-network"], probe("cat", path));
    expect(shared.stdout).toBe(readFileSync(path, "utf8"));
  });

  test.each([
    ["copy-host", "it stays"],
    ["replace-host", "it is replaced by a file"],
  ] as const)("%s where the tree has a link: %s", async (mode, what) => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    rmSync(join(tree, path));
    symlinkSync("/run/resolv.conf", join(tree, path));
    expect((await root.run(tree, [`--resolv-conf=${mode}`], probe("cwd"))).status).toBe(0);
    if (what === "it stays") expect(readlinkSync(join(tree, path))).toBe("/run/resolv.conf");
    else expect(lstatSync(join(tree, path)).isFile()).toBe(true);
    expect(existsSync(join(tree, "run/resolv.conf"))).toBe(false);
  });
});

describe("/etc/localtime", () => {
  const path = "/etc/localtime";
  const zone = /zoneinfo\/(.+)$/.exec(
    existsSync(path) && lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "",
  )?.[1];
  const link = `../usr/share/zoneinfo/${zone}`;

  async function treeWithZone(root: BerthRoot): Promise<string> {
    const tree = await ownTree(root);
    for (const name of [zone ?? "", "Antarctica/Troll"]) {
      const file = join(tree, "usr/share/zoneinfo", name);
      mkdirSync(join(file, ".."), { recursive: true });
      writeFileSync(file, `${name} of the tree`);
    }
    symlinkSync("../usr/share/zoneinfo/Antarctica/Troll", join(tree, path));
    return tree;
  }

  test.runIf(zone).each(TIMEZONE_MODES)("Timezone=%s", async (mode) => {
    await using root = berthRoot();
    const tree = await treeWithZone(root);
    const talk = interview({ stat: ["stat", path], read: ["cat", path] });
    const { status, stdout } = await root.run(tree, [`--timezone=${mode}`], talk.command);
    const answers = talk.answers(stdout);
    const after = lstatSync(join(tree, path), { throwIfNoEntry: false });
    expect(status).toBe(mode === "delete" ? 1 : 0);
    switch (mode) {
      case "off":
        expect(answers.line("stat")["target"]).toBe("../usr/share/zoneinfo/Antarctica/Troll");
        break;
      case "auto":
      case "symlink":
        expect(answers.line("stat")["target"]).toBe(link);
        expect(answers.text("read")).toBe(`${zone} of the tree`);
        break;
      case "copy":
        expect(answers.line("stat")).toMatchObject({ type: "file", uid: 0 });
        expect(readFileSync(join(tree, path)).equals(readFileSync(path))).toBe(true);
        break;
      case "bind":
        expect(answers.text("read")).toContain("TZif2"); // tzfile(5)
        expect(readFileSync(join(tree, path), "utf8")).toBe("Antarctica/Troll of the tree");
        break;
      case "delete":
        expect(answers.line("stat").error).toBe("ENOENT");
        expect(after).toBeUndefined();
        break;
    }
  });

  test.runIf(zone)("--timezone=auto leaves a tree without zones as it is", async () => {
    await using root = berthRoot();
    const tree = await ownTree(root);
    expect((await root.run(tree, [], probe("cwd"))).status).toBe(0);
    expect(existsSync(join(tree, path))).toBe(false);
  });
});
