/** Trees made to reach out of the machine: whatever they hold, the host outside stays as it is. */
import { execFileSync, spawn } from "node:child_process";
import {
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { LaunchError } from "../../src/exec/launch-error.ts";
import { type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { interview } from "../lib/interview.ts";
import { ended, testMachine } from "../lib/launch.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:mkfifo");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

interface Scene {
  readonly root: BerthRoot;
  readonly tree: string;
  /** A directory of the host that the tree's links lead to. */
  readonly canary: string;
  /** Runs in the tree and checks that the canary is as it was. */
  run(options: readonly string[], command: readonly string[]): Promise<End>;
}

async function scene(root: BerthRoot): Promise<Scene> {
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  const canary = root.directory("canary", 0o777);
  writeFileSync(join(canary, "file"), "of the host", { mode: 0o666 });
  mkdirSync(join(canary, "empty"));
  const before = contentsOf(canary);
  const run = async (options: readonly string[], command: readonly string[]): Promise<End> => {
    const end = await root.run(tree, options, command);
    expect(contentsOf(canary)).toEqual(before);
    expect(end.stderr).not.toContain("    at ");
    return end;
  };
  return { root, tree, canary, run };
}

/** Everything in a directory: type, mode, owner, size, both times, target. */
function contentsOf(directory: string): string[] {
  const format = "%P %y %m %U:%G %s %T@ %C@ %l\\n";
  return execFileSync("find", [directory, "-printf", format], { encoding: "utf8" }).split("\n").sort();
}

/** Puts a symbolic link in the place of whatever is there. */
function link(tree: string, path: string, target: string): void {
  const place = join(tree, path);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(target, place);
}

/** Either it ran, or it was refused with a message; never anything else. */
function ranOrRefused({ status, stderr }: End): boolean {
  expect([0, 1, 125], stderr).toContain(status);
  if (status === 125) expect(stderr).toMatch(/^berth: .+/);
  return status !== 125;
}

describe("a mount point of the API file systems that is a link is refused by name", () => {
  const targets: Record<string, (tree: string, path: string, canary: string) => string> = {
    "to a directory of the host": (_tree, _path, canary) => canary,
    "up and out of the tree": (_tree, _path, canary) => `${"../".repeat(20)}${relative("/", canary)}`,
    "to a directory of the tree": () => "/usr",
    "to itself": (_tree, path) => path,
    "to nothing": () => "/nowhere",
  };

  for (const path of ["/proc", "/sys", "/dev", "/run"])
    test.each(Object.entries(targets))(`${path} %s`, async (_, target) => {
      await using root = berthRoot();
      const { tree, canary, run } = await scene(root);
      link(tree, path, target(tree, path, canary));
      const before = contentsOf(tree);
      const { status, stdout, stderr } = await run([], probe("cwd"));
      expect([status, stdout]).toEqual([125, ""]);
      expect(stderr).toMatch(new RegExp(`^berth: starting m failed at .*${path}\\b.*: `));
      expect(contentsOf(tree)).toEqual(before);
    });

  test.each(["/proc", "/sys", "/dev", "/run"])("%s that is a file", async (path) => {
    await using root = berthRoot();
    const { tree, run } = await scene(root);
    rmSync(join(tree, path), { recursive: true });
    writeFileSync(join(tree, path), "");
    const { status, stderr } = await run([], probe("cwd"));
    expect(status).toBe(125);
    expect(stderr).toContain(path);
  });
});

describe("a link of the tree is followed inside the tree, or refused, and never leads out", () => {
  test.each(["/usr", "/nowhere", "CANARY", "OUT"])("/tmp -> %s", async (target) => {
    await using root = berthRoot();
    const { tree, canary, run } = await scene(root);
    link(tree, "/tmp", target.replace("CANARY", canary).replace("OUT", `${"../".repeat(20)}${canary}`));
    const end = await run([], probe("write", "/tmp/x", "x"));
    if (ranOrRefused(end)) expect(readdirSync(join(tree, "usr"))).toEqual(["lib"]);
  });

  test.each([
    ["--resolv-conf=copy-host", "/etc/resolv.conf"],
    ["--resolv-conf=replace-host", "/etc/resolv.conf"],
    ["--resolv-conf=bind-host", "/etc/resolv.conf"],
    ["--resolv-conf=delete", "/etc/resolv.conf"],
    ["--timezone=copy", "/etc/localtime"],
    ["--timezone=bind", "/etc/localtime"],
    ["--timezone=symlink", "/etc/localtime"],
    ["--timezone=delete", "/etc/localtime"],
  ])("%s, the file and its directory", async (option, path) => {
    await using root = berthRoot();
    const { tree, canary, run } = await scene(root);
    const targets = [join(canary, "file"), `${"../".repeat(20)}${canary}/new`];
    for (const target of option.includes("bind") ? [...targets, path] : targets) {
      link(tree, path, target);
      ranOrRefused(await run([option], probe("cwd")));
    }
    link(tree, "/etc", canary);
    ranOrRefused(await run([option], probe("cwd")));
    expect(readlinkSync(join(tree, "etc"))).toBe(canary);
  });

  test("what a bind is to be mounted on, and the directories on the way", async () => {
    await using root = berthRoot();
    const { tree, canary, run } = await scene(root);
    const source = root.directory("source");
    writeFileSync(join(source, "name"), "bound");
    link(tree, "/out", canary);
    link(tree, "/up", `${"../".repeat(20)}${canary}`);
    link(tree, "/loop", "/loop");
    link(tree, "/dangling", "/nowhere");
    link(tree, "/inside", "/usr/lib");
    for (const target of [
      "/out",
      "/out/empty",
      "/out/new/deep",
      "/up/new",
      "/loop",
      "/loop/x",
      "/dangling",
      "/dangling/x",
    ]) {
      const end = await run([`--bind-ro=${source}:${target}`], probe("cat", `${target}/name`));
      if (ranOrRefused(end)) expect(end.stdout, target).toBe("bound");
    }
    const inside = await run([`--bind-ro=${source}:/inside`], probe("cat", "/usr/lib/name"));
    expect(inside).toMatchObject({ status: 0, stdout: "bound" });
    expect(readdirSync(join(tree, "usr/lib"))).toEqual([]);
  });

  test("the init: one outside is none", async () => {
    await using root = berthRoot();
    const { tree, canary, run } = await scene(root);
    for (const target of ["/bin/sh", `${"../".repeat(20)}bin/sh`, join(canary, "file")]) {
      link(tree, "/sbin/init", target);
      const { status, stderr } = await run(["-b"], []);
      expect([status, stderr]).toEqual([125, expect.stringContaining("no init")]);
    }
  });
});

describe("a directory in the place of resolv.conf and localtime", () => {
  /** With names that berth once used for what it puts in their place. */
  async function withDirectories(root: BerthRoot): Promise<Scene & { readonly before: readonly string[] }> {
    const made = await scene(root);
    for (const name of ["resolv.conf", "localtime", ".berth-resolv.conf", ".berth-localtime"]) {
      rmSync(join(made.tree, "etc", name), { force: true });
      mkdirSync(join(made.tree, "etc", name, "full"), { recursive: true });
    }
    // A zone that the tree has, whatever the host's is.
    cpSync("/usr/share/zoneinfo", join(made.tree, "usr/share/zoneinfo"), { recursive: true });
    return { ...made, before: contentsOf(join(made.tree, "etc")) };
  }

  test.each([[[]], [["--host-network"]], [["--host-network", "--resolv-conf=copy-host", "--timezone=auto"]]])(
    "is left alone, and the machine starts: %j",
    async (options) => {
      await using root = berthRoot();
      const { tree, run, before } = await withDirectories(root);
      expect(await run(["-q", ...options], probe("exit", "4"))).toMatchObject({ status: 4, stderr: "" });
      expect(contentsOf(join(tree, "etc")).map(withoutChangeTime)).toEqual(before.map(withoutChangeTime));
    },
  );

  test.each([
    "--resolv-conf=replace-host",
    "--resolv-conf=delete",
    "--timezone=copy",
    "--timezone=symlink",
    "--timezone=delete",
  ])("is refused by name with %s, and nothing is left behind", async (option) => {
    await using root = berthRoot();
    const { tree, run, before } = await withDirectories(root);
    const { status, stderr } = await run(["-q", option], probe("exit", "4"));
    expect(status).toBe(125);
    const name = option.includes("resolv") ? "resolv.conf" : "localtime";
    expect(stderr).toMatch(
      new RegExp(`^berth: starting m failed at .*/etc/${name}.*: unlinkat ${name}: EISDIR: .*\nhint: a directory is`),
    );
    expect(contentsOf(join(tree, "etc")).map(withoutChangeTime)).toEqual(before.map(withoutChangeTime));
  });

  /** What a start makes and removes in a directory changes its times. */
  function withoutChangeTime(line: string): string {
    return line.replace(/^( d \S+ \S+ \S+) \S+ \S+/, "$1");
  }
});

describe("files of the wrong kind hang and hurt nobody", () => {
  const kinds: Record<string, (path: string) => void> = {
    "a fifo": (path) => void execFileSync("mkfifo", [path]),
    "a device": (path) => void execFileSync("mknod", [path, "c", "1", "5"]),
    "a block device": (path) => void execFileSync("mknod", [path, "b", "8", "0"]),
    "a directory": (path) => void mkdirSync(path),
    "a sparse file of a terabyte": (path) => {
      writeFileSync(path, "");
      truncateSync(path, 2 ** 40);
    },
  };

  test.each(Object.entries(kinds))("%s for os-release, machine-id, resolv.conf and localtime", async (_, make) => {
    await using root = berthRoot();
    const { tree, run } = await scene(root);
    for (const name of ["os-release", "machine-id", "resolv.conf", "localtime"]) {
      rmSync(join(tree, "etc", name), { force: true });
      make(join(tree, "etc", name));
    }
    const end = await run(["--resolv-conf=copy-host", "--timezone=copy"], probe("env"));
    if (ranOrRefused(end)) expect(parseProbe(end.stdout, "env")["env"]).toHaveProperty("container_uuid");
  });

  test.each(Object.entries(kinds))("%s for the init", async (_, make) => {
    await using root = berthRoot();
    const { tree, run } = await scene(root);
    rmSync(join(tree, "sbin/init"));
    make(join(tree, "sbin/init"));
    expect((await run(["-b"], [])).status).toBeGreaterThanOrEqual(125);
  });

  test("the tree's own /dev is not used, whatever it calls null", async () => {
    await using root = berthRoot();
    const { tree, canary, run } = await scene(root);
    writeFileSync(join(tree, "dev/null"), "no device");
    execFileSync("mknod", [join(tree, "dev/zero"), "b", "8", "0"]);
    symlinkSync(join(canary, "file"), join(tree, "dev/console"));
    mkdirSync(join(tree, "dev/pts"));
    symlinkSync("/proc/kcore", join(tree, "dev/ptmx"));
    const talk = interview({
      null: ["stat", "/dev/null"],
      zero: ["stat", "/dev/zero"],
      console: ["stat", "/dev/console"],
    });
    const answers = talk.answers((await run([], talk.command)).stdout);
    expect(answers.line("null")).toMatchObject({ type: "char", major: 1, minor: 3 });
    expect(answers.line("zero")).toMatchObject({ type: "char", major: 1, minor: 5 });
    expect(answers.line("console")).toMatchObject({ type: "char", major: 136 });
    expect(readFileSync(join(tree, "dev/null"), "utf8")).toBe("no device");
  });

  test("device nodes elsewhere in the tree cannot be opened", async () => {
    await using root = berthRoot();
    const { tree, run } = await scene(root);
    execFileSync("mknod", [join(tree, "root/null"), "c", "1", "3"]);
    for (const option of ["--private-users=pick", "--private-users=no"]) {
      const { stdout } = await run(["-q", option], probe("open-rw", "/root/null"));
      expect(parseProbe(stdout)[0]?.error, option).toBe("EACCES");
    }
  });
});

test("names and values of a tree reach the environment and the tables as text, never as control characters", async () => {
  await using root = berthRoot();
  const { tree } = await scene(root);
  writeFileSync(
    join(tree, "etc/os-release"),
    'ID="evil\x1b]0;title\x07"\nVERSION_ID="\x9b31m\u202e1"\nPRETTY_NAME="\x1b[2J"\n',
  );
  await using child = root.start("run", "-D", tree, "-M", "m", "--console=read-only", "--", ...probe("init", "--term"));
  await child.until(/^up/m);
  await root.recordWhen("m");
  const list = await root.berth("list");
  const status = await root.berth("status", "m");
  expect(list.stdout).toMatch(/^m +container/m);
  // C0 without the line feed, C1, and what turns the direction of writing.
  for (const text of [list.stdout, status.stdout]) expect(text).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u);
  child.kill();
  expect((await child.end).status).toBe(0);
});

test("a tree that belongs to somebody else than root is refused", async () => {
  await using root = berthRoot();
  const { tree, run } = await scene(root);
  chownSync(tree, 1000, 1000);
  const { status, stderr } = await run([], probe("cwd"));
  expect(status).toBe(125);
  expect(stderr).toContain("belongs to id 1000");
});

test("an ephemeral machine's layer is closed to the host's users: files in it may be setuid root", async () => {
  await using root = berthRoot();
  const { tree } = await scene(root);
  await using child = root.start("run", "-x", "-D", tree, "-M", "m", "--pipe", "--", ...probe("init", "--term"));
  const { layer } = await root.recordWhen("m");
  expect(lstatSync(layer ?? "").mode & 0o7777).toBe(0o700);
  child.kill();
  await child.end;
});

test("a tree with nothing in it but a program gets what it lacks for the run, and is bare again after it", async () => {
  await using root = berthRoot();
  const { tree, run } = await scene(root);
  for (const name of readdirSync(tree)) if (name !== "probe") rmSync(join(tree, name), { recursive: true });
  const talk = interview({ root: ["ls", "/"], proc: ["cat", "/proc/self/uid_map"], write: ["write", "/tmp/x", "x"] });
  const { status, stdout } = await run([], talk.command);
  const answers = talk.answers(stdout);
  expect(status).toBe(0);
  expect(answers.line("root")["names"]).toEqual(["dev", "probe", "proc", "run", "sys", "tmp"]);
  expect(answers.text("proc")).toMatch(/65536\n$/);
  expect(readdirSync(tree)).toEqual(["probe"]);
});

test.each([
  ["/swapped", ["--bind-ro=SOURCE:/swapped/new", "--bind-ro=SOURCE:/swapped/empty"]],
  ["/etc", ["--resolv-conf=replace-host", "--timezone=copy"]],
  ["/proc", []],
  ["/run", ["--bind-ro=SOURCE:/run/new"]],
])("%s that is swapped for a link while machines start leads no mount astray", async (path, options) => {
  await using root = berthRoot();
  const { tree, canary } = await scene(root);
  const before = contentsOf(canary);
  const place = join(tree, path);
  mkdirSync(join(place, "empty"), { recursive: true });
  const names = readdirSync(place);
  const given = options.map((option) => option.replace("SOURCE", root.directory("source")));
  const settings = { name: "m", directory: root.path, root: tree, options: given, command: probe("exit", "0") };
  const start = async (): Promise<void> => {
    const machine = testMachine(settings);
    const launch = machine.launch();
    await launch.run();
    expect((await ended(machine, launch)).record).toMatchObject({ reason: "exited", status: 0 });
  };
  await using swapper = swapping(place, canary);
  for (let i = 0; i < 60; i++) {
    try {
      await start();
    } catch (error) {
      if (!(error instanceof LaunchError)) throw error;
    }
    expect(contentsOf(canary)).toEqual(before);
  }
  await swapper[Symbol.asyncDispose]();
  if (existsSync(`${place}.aside`)) {
    rmSync(place, { force: true, recursive: true }); // a link, or what a start has made where nothing was
    renameSync(`${place}.aside`, place);
  }
  await start();
  // What was made for a start may stay in a tree that moved it away meanwhile: its own affair.
  const made = path === "/etc" ? ["localtime", "resolv.conf"] : ["new"];
  expect(
    readdirSync(place)
      .filter((name) => !made.includes(name))
      .sort(),
  ).toEqual([...names].sort());
});

/** Two states in turn, as fast as it goes: the directory, and a link in its place. */
function swapping(place: string, target: string): AsyncDisposable {
  const [directory, aside, canary] = [place, `${place}.aside`, target].map((path) => JSON.stringify(path));
  const swap = `const { renameSync, symlinkSync, unlinkSync } = require("node:fs");
    for (;;) {
      renameSync(${directory}, ${aside});
      symlinkSync(${canary}, ${directory});
      unlinkSync(${directory});
      renameSync(${aside}, ${directory});
    }`;
  const swapper = spawn(process.execPath, ["-e", swap], { stdio: "ignore" });
  const gone = new Promise<void>((resolve) => swapper.once("exit", () => resolve()));
  return {
    async [Symbol.asyncDispose]() {
      swapper.kill("SIGKILL");
      await gone;
    },
  };
}
