import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { isCutQcow } from "../../../src/transfer/qcow2.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-qcow2-"));
afterAll(() => rmSync(directory, { recursive: true }));

const CLUSTER = 4096;
const COMPRESSED = 1n << 62n;

interface Made {
  readonly bits?: number;
  readonly size?: bigint;
  readonly version?: number;
  readonly features?: number;
  readonly l1?: { readonly offset?: bigint; readonly entries: readonly bigint[]; readonly count?: number };
  readonly l2?: readonly bigint[];
  /** Clusters of the file. */
  readonly length?: number;
}

/** A header, a table of each level in the next two clusters, then what there is of clusters. */
async function isCut({ bits = 12, version = 3, features = 0, ...made }: Made, most = 1e12): Promise<boolean> {
  const file = Buffer.alloc((made.length ?? 4) * CLUSTER);
  const { offset = BigInt(CLUSTER), entries, count } = made.l1 ?? { entries: [BigInt(2 * CLUSTER)] };
  file.write("QFI\xfb", "latin1");
  file.writeUInt32BE(version, 4);
  file.writeUInt32BE(bits, 20);
  file.writeBigUInt64BE(made.size ?? 1n << 20n, 24);
  file.writeUInt32BE(count ?? entries.length, 36);
  file.writeBigUInt64BE(offset, 40);
  file.writeUInt32BE(features, 76);
  for (const [index, entry] of entries.entries()) file.writeBigUInt64BE(entry, CLUSTER + 8 * index);
  for (const [index, entry] of (made.l2 ?? []).entries()) file.writeBigUInt64BE(entry, 2 * CLUSTER + 8 * index);
  const path = join(directory, "disk");
  writeFileSync(path, file);
  return isCutQcow(path, { most, signal: new AbortController().signal });
}

const at = (cluster: number): bigint => BigInt(cluster * CLUSTER);

describe("whether a qcow2 is cut", () => {
  test("clusters, up to the last byte", async () => {
    expect(await isCut({ l2: [at(3)] })).toBe(false);
    expect(await isCut({ l2: [at(3) | (1n << 63n)] })).toBe(false);
    expect(await isCut({ l2: [0n, at(4)] })).toBe(true);
    expect(await isCut({ l2: [at(3) + 512n] })).toBe(true);
    // Of the last one no more than the disk has.
    expect(await isCut({ size: 1000n, l2: [at(3) + 512n] })).toBe(false);
    // What is beyond the disk's end nobody reads.
    expect(await isCut({ size: 1000n, l2: [at(3), at(4)] })).toBe(false);
    expect(await isCut({ l2: [at(3), at(4)] }, 4096)).toBe(false);
  });

  test("clusters of zeros need no place, those that are compressed the beginning of one", async () => {
    expect(await isCut({ l2: [at(9) | 1n] })).toBe(false);
    expect(await isCut({ l2: [COMPRESSED | (7n << 58n) | (at(4) - 1n)] })).toBe(false);
    expect(await isCut({ l2: [COMPRESSED | (7n << 58n) | at(4)] })).toBe(true);
  });

  test("parts of clusters, where the entries tell of them", async () => {
    const features = 1 << 4;
    expect(await isCut({ features, l2: [at(9), 0n] })).toBe(false);
    expect(await isCut({ features, l2: [at(3) + 2048n, 0xffffn] })).toBe(false);
    expect(await isCut({ features, l2: [at(3) + 2048n, 0x1ffffn] })).toBe(true);
    expect(await isCut({ features, l2: [at(3), 0x1fffen] })).toBe(false);
    expect(await isCut({ features, version: 2, l2: [at(3), 0x1fffen] })).toBe(true);
  });

  test("tables", async () => {
    expect(await isCut({ l1: { offset: at(4), entries: [0n] } })).toBe(true);
    expect(await isCut({ l1: { entries: [at(4)] } })).toBe(true);
    expect(await isCut({ l1: { entries: [at(3) + 512n] } })).toBe(true);
    expect(await isCut({ l1: { entries: [0n] } })).toBe(false);
  });

  test("what is none that qemu-img would convert is left to that, and of a table that claims any number no more is read", async () => {
    expect(await isCut({ bits: 40, l2: [at(9)] })).toBe(false);
    expect(await isCut({ features: 1 << 2, l2: [at(9)] })).toBe(false);
    expect(await isCut({ size: 2n ** 64n - 1n, l1: { entries: [0n], count: 0xffffffff } }, 1 << 20)).toBe(false);
    expect(
      await isCut({ size: 2n ** 64n - 1n, l1: { offset: 2n ** 64n - 1n, entries: [0n], count: 0xffffffff } }),
    ).toBe(true);
  });
});
