/** The copier as it is for both architectures: arm64 under qemu's user mode emulation, where no thread can be started. */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { runnerOf } from "../../lib/emulator.ts";
import { manifest } from "../../lib/manifest.ts";
import { needs } from "../../lib/requires.ts";
import { richTree } from "../../lib/rich-tree.ts";

needs("root", "tool:python3", "tool:getcap");

/** Of each type one whose name is a link to a file of the host already, and one whose name is a file. */
const TWICE = `
import os, socket, stat, sys
source, target, victim = sys.argv[1:]
open(victim, "w").write("secret"); os.chmod(victim, 0o600)
os.mkdir(source); os.chdir(source)
for name in "link", "file":
    open(f"{name}-file", "w").write("large")
    os.mkfifo(f"{name}-fifo")
    os.mknod(f"{name}-device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    socket.socket(socket.AF_UNIX).bind(f"{name}-socket")
    os.mkdir(f"{name}-directory"); open(f"{name}-directory/in", "w").close()
    os.symlink("/nowhere", f"{name}-link")
for name in os.listdir("."):
    if os.path.islink(name): os.lchown(name, 1000, 1000); continue
    os.chown(name, 1000, 1000); os.chmod(name, 0o4777)
    os.setxattr(name, "trusted.berth", b"x")
for name in os.listdir("."):
    if name.startswith("link"): os.symlink(victim, f"{target}/{name}")
    else: open(f"{target}/{name}", "w").close()
`;

let directory = "";
let from = "";
let to = "";
let group = 0;
beforeEach(() => {
  group = 0;
  directory = mkdtempSync(join(tmpdir(), "copier-"));
  from = richTree(join(directory, "from"));
  to = join(directory, "to");
  mkdirSync(to);
});
afterEach(() => rmSync(directory, { recursive: true }));

describe.each(["x64", "arm64"] as const)("the copier for %s", (arch) => {
  function run(ctx: TestContext, ...words: readonly string[]): { status: number | null; said: readonly string[] } {
    const program = fileURLToPath(new URL(`../../../src/tree-copier/tree-copier-${arch}`, import.meta.url));
    const under = runnerOf(ctx, arch);
    const [command = "", ...rest] = [...under, program, ...words];
    const source = openSync(from, "r");
    const { status, stdout } = spawnSync(command, rest, {
      cwd: to,
      stdio: [source, "pipe", "inherit"],
      gid: group,
      encoding: "latin1",
      timeout: 60_000,
    });
    closeSync(source);
    return { status, said: stdout.split("\0").filter(Boolean) };
  }

  test.for([
    ["1", "n"],
    ["2", "n"],
    ["9", "nd"],
  ])("with %s threads, %s, copies all", ([threads = "", letters = ""], ctx) => {
    expect(run(ctx, threads, letters)).toEqual({ status: 0, said: [] });
    expect(manifest(to)).toEqual(manifest(from));
  });

  test("gives files of root to root, whichever group it runs as", (ctx) => {
    group = 100;
    expect(run(ctx, "2", "n")).toEqual({ status: 0, said: [] });
    expect(manifest(to)).toEqual(manifest(from));
  });

  test("says at the end what it has copied, and first of all what it could not", (ctx) => {
    expect(run(ctx, "2", "p")).toEqual({
      status: 0,
      said: expect.arrayContaining([expect.stringMatching(/^P \d+ \d+$/)]),
    });
    // It is not empty.
    rmSync(join(to, "etc"), { recursive: true, force: true });
    from = join(directory, "to");
    expect(run(ctx, "2", "n")).toEqual({ status: 1, said: ["E 22 copy-into-itself "] });
  });

  test("what has a name that is taken, having been found twice, gives nothing of it to what is there", (ctx) => {
    rmSync(from, { recursive: true });
    const victim = join(directory, "victim");
    execFileSync("python3", ["-c", TWICE, from, to, victim]);
    const state = (): string =>
      execFileSync(
        "find",
        [victim, to, "-mindepth", "0", "(", "-path", to, "-o", "-printf", "%P %y %m %U:%G %s %T@ %C@ %l\\n", ")"],
        {
          encoding: "utf8",
        },
      );
    const before = state();
    expect(run(ctx, "2", "n")).toEqual({ status: 0, said: [] });
    expect(state()).toBe(before);
  });

  test("knows its words", (ctx) => {
    expect(run(ctx).status).toBe(2);
    expect(run(ctx, "0", "n").status).toBe(2);
  });
});
