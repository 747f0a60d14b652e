/** The copier as it is for both architectures: arm64 under qemu's user mode emulation, where no thread can be started. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { manifest } from "../../lib/manifest.ts";
import { findTool, needs, needsHere } from "../../lib/requires.ts";
import { richTree } from "../../lib/rich-tree.ts";

needs("root", "tool:python3", "tool:getcap");

let directory = "";
let from = "";
let to = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "copier-"));
  from = richTree(join(directory, "from"));
  to = join(directory, "to");
  mkdirSync(to);
});
afterEach(() => rmSync(directory, { recursive: true }));

describe.each(["x64", "arm64"] as const)("the copier for %s", (arch) => {
  function run(ctx: TestContext, ...words: readonly string[]): { status: number | null; said: readonly string[] } {
    const program = fileURLToPath(new URL(`../../../src/copier/copier-${arch}`, import.meta.url));
    const under = process.arch === arch ? [] : [emulator(ctx)];
    const [command = "", ...rest] = [...under, program, ...words];
    const source = openSync(from, "r");
    const { status, stdout } = spawnSync(command, rest, {
      cwd: to,
      stdio: [source, "pipe", "inherit"],
      encoding: "latin1",
      timeout: 60_000,
    });
    closeSync(source);
    return { status, said: stdout.split("\0").filter(Boolean) };
  }

  test.for(["1", "2", "9"])("with %s threads copies all", (threads, ctx) => {
    expect(run(ctx, threads, "n")).toEqual({ status: 0, said: [] });
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

  test("knows its words", (ctx) => {
    expect(run(ctx).status).toBe(2);
    expect(run(ctx, "0", "n").status).toBe(2);
  });
});

function emulator(ctx: TestContext): string {
  if (process.arch === "x64") needsHere(ctx, "tool:qemu-aarch64-static");
  return findTool("qemu-aarch64-static") ?? ctx.skip("needs tool:qemu-aarch64-static");
}
