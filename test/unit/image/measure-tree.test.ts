import { linkSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { measureTree } from "../../../src/image/measure-tree.ts";

const { signal } = new AbortController();
let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "measure-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("a file with several names is one, and takes its room once", async () => {
  mkdirSync(join(directory, "in"));
  const file = join(directory, "file");
  writeFileSync(file, Buffer.alloc(1 << 20, 1));
  for (let index = 0; index < 9; index++) linkSync(file, join(directory, "in", `${index}`));
  symlinkSync("/", join(directory, "link"));
  const size = await measureTree(directory, signal);
  expect(size?.entries).toBe(13);
  expect(size?.inodes).toBeCloseTo(4);
  const blocks = [directory, join(directory, "in"), file].reduce((sum, path) => sum + statSync(path).blocks, 0);
  expect(size?.blocks).toBeGreaterThanOrEqual(blocks - 0.001);
  expect(size?.blocks).toBeLessThan(blocks + 16);
});

test("who is told to stop says so", async () => {
  await expect(measureTree(directory, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});
