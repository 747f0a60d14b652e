/** A store on a disk that fails: what is said to be done would not be there, so nothing is. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { failingStore } from "../lib/failing-store.ts";
import { toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "tool:tar", ...toolsOf("ext4"));
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MIB = 1 << 20;

test.each([
  ["import-tar", (from: string) => ["import-tar", `${from}.tar`, "img"]],
  ["import-fs", (from: string) => ["import-fs", from, "img"]],
  ["import-raw", (from: string) => ["import-raw", `${from}.raw`, "img"]],
] as const)("%s: what failed is said, and no image is listed", async (_, words) => {
  await using root = berthRoot();
  const from = root.directory("from");
  for (const directory of ["etc", "usr/bin"]) mkdirSync(join(from, directory), { recursive: true });
  writeFileSync(join(from, "etc/os-release"), "ID=test\n");
  writeFileSync(join(from, "usr/bin/large"), Buffer.alloc(80 * MIB, "not a hole "));
  execFileSync("tar", ["-C", from, "-cf", `${from}.tar`, "."]);
  execFileSync("mkfs.ext4", ["-q", "-d", from, `${from}.raw`, "120M"]);
  using _store = failingStore(root);
  const failed = await root.berth(...words(from));
  expect(failed).toMatchObject({ status: 1, stdout: "" });
  expect(failed.stderr).toMatch(/EIO|ENOSPC|EROFS|Input\/output error|Read-only file system/);
  expect(failed.stderr).not.toMatch(/internal error|suppressed|\n {4}at /);
  expect(JSON.parse((await root.berth("list-images", "--json")).stdout)).toEqual([]);
  expect(readdirSync(root.machines).filter((name) => name.startsWith("img"))).toEqual([]);
});
