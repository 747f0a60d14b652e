import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { removeTree } from "../../../src/host/remove-tree.ts";

const MODULE = fileURLToPath(new URL("../../../src/host/remove-tree.ts", import.meta.url));

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "remove-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** Directories in one another, whose path no system call takes at once. */
function nest(path: string, levels: number): void {
  mkdirSync(path);
  let fd = openSync(path, constants.O_RDONLY);
  for (let level = 0; level < levels; level++) {
    const next = `/proc/self/fd/${fd}/directory`;
    mkdirSync(next);
    const child = openSync(next, constants.O_RDONLY);
    closeSync(fd);
    fd = child;
  }
  closeSync(fd);
}

test("removes what is nested deeper than a path can say, and than there are fds", () => {
  const path = join(directory, "deep");
  nest(path, 1000);
  const script = `import { removeTree } from ${JSON.stringify(MODULE)}; removeTree(${JSON.stringify(path)});`;
  const words = ["--nofile=256:256", process.execPath, "--input-type=module", "-e", script];
  expect(spawnSync("prlimit", words, { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  expect(existsSync(path)).toBe(false);
});

test("removes a link and not what it leads to, a file, and nothing", () => {
  mkdirSync(join(directory, "elsewhere/kept"), { recursive: true });
  symlinkSync("elsewhere", join(directory, "link"));
  writeFileSync(join(directory, "-file"), "");
  for (const name of ["link", "-file", "nothing"]) removeTree(join(directory, name));
  expect(readdirSync(directory)).toEqual(["elsewhere"]);
  expect(readdirSync(join(directory, "elsewhere"))).toEqual(["kept"]);
});

test("says what it could not remove", () => {
  const path = "/proc/self/status";
  expect(() => removeTree(path)).toThrow(BerthError);
  expect(() => removeTree(path)).toThrow(/^cannot remove \/proc\/self\/status: rm: cannot remove/);
});
