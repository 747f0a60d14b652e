import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isExposed } from "../../../src/host/exposure.ts";
import { needs } from "../../lib/requires.ts";

const ready = needs("root");
const mountinfo = () => readFileSync("/proc/self/mountinfo", "utf8");
let directory = "";
let tree = "";

/** Trees of tests lie in a directory of root's own; here the way to them is open. */
beforeEach(() => {
  directory = mkdtempSync(join(dirname(tmpdir()), "berth-exposure-"));
  chmodSync(directory, 0o755);
  tree = join(directory, "parent", "tree");
  mkdirSync(tree, { recursive: true });
});
afterEach(() => rmSync(directory, { recursive: true }));

test.skipIf(!ready).for([
  ["all may pass", 0o755, 0, 0, true],
  ["the way in is root's", 0o700, 0, 0, false],
  ["and root's group's", 0o750, 0, 0, false],
  ["a group of users may pass", 0o750, 0, 100, true],
  ["its owner is a user", 0o700, 1000, 0, true],
  ["others may list it, but not pass", 0o754, 0, 0, false],
] as const)("%s", ([, mode, uid, gid, exposed]) => {
  chownSync(dirname(tree), uid, gid);
  chmodSync(dirname(tree), mode);
  expect(isExposed(tree, mountinfo)).toBe(exposed);
});

test("the mode of the tree's own root does not help: root inside can change it", () => {
  chmodSync(tree, 0o700);
  expect(isExposed(tree, mountinfo)).toBe(true);
});

test("what counts is the way to where a link leads", () => {
  chmodSync(dirname(tree), 0o700);
  const link = join(directory, "link");
  symlinkSync(tree, link);
  expect(isExposed(link, mountinfo)).toBe(false);
});

test("a mount that heeds no set-user-ID bits", () => {
  const nosuid = `1 0 8:1 / / rw,nosuid - ext4 /dev/sda1 rw\n`;
  expect(isExposed(tree, () => nosuid)).toBe(false);
  expect(isExposed(tree, () => nosuid.replace(",nosuid", ""))).toBe(true);
});

test("nothing there", () => {
  expect(isExposed(join(tree, "none"), mountinfo)).toBe(false);
});
