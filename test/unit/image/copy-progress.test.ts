import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FileProgress, TreeProgress } from "../../../src/image/copy-progress.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "progress-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("of a tree: by entries and blocks, it only grows, and is whole at its end alone", async () => {
  for (let index = 0; index < 9; index++) writeFileSync(join(directory, `${index}`), "");
  const told: number[] = [];
  await using shown = new TreeProgress(directory, false, (fraction) => told.push(fraction));
  const half = () => {
    shown.take(5, 0);
    return told.length;
  };
  // Once it has been measured: the directory may have a block or some.
  await expect.poll(half).toBe(1);
  expect(told[0]).toBeGreaterThan(0.4);
  expect(told[0]).toBeLessThanOrEqual(0.5);
  shown.take(4, 0);
  shown.take(5, 128);
  shown.take(20, 10_000);
  shown.end();
  expect(told.length).toBe(4);
  expect(told[1]).toBeCloseTo((told[0] ?? 0) * 1.2);
  expect(told.slice(2)).toEqual([0.99, 1]);
});

test("of a file: by how much of it is there", async () => {
  const to = join(directory, "to");
  const told: number[] = [];
  using shown = new FileProgress(to, 400, (fraction) => told.push(fraction));
  writeFileSync(to, Buffer.alloc(100 * 1024, 1));
  await expect.poll(() => told.at(-1), { timeout: 10_000 }).toBeGreaterThan(0.4);
  shown.end();
  expect(told.at(-1)).toBe(1);
  expect(told).toEqual(told.toSorted((one, other) => one - other));
});
