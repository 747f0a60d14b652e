/** Cgroups that a machine has nested as deep as it liked. */
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { prepareCgroup, removeCgroup } from "../../src/exec/cgroup.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

needs("root", "cgroup2");
checkLeaks();

const top = (): string => join(readHostFacts().cgroup.mount ?? "", `berth-test-${process.pid}`);

/** As `mkdir; chdir` does it. Returns how many levels there were to be had. */
function nest(path: string, levels: number, name: string): number {
  let fd = openSync(path, constants.O_RDONLY);
  try {
    for (let level = 0; level < levels; level++) {
      const next = `/proc/self/fd/${fd}/${name}`;
      try {
        mkdirSync(next);
      } catch {
        return level;
      }
      const child = openSync(next, constants.O_RDONLY);
      closeSync(fd);
      fd = child;
    }
    return levels;
  } finally {
    closeSync(fd);
  }
}

test("are removed, though their path is longer than the kernel takes one", () => {
  const path = top();
  mkdirSync(path);
  expect(nest(path, 60, "n".repeat(200))).toBe(60);
  nest(path, 3, "beside");
  removeCgroup(path);
  expect(existsSync(path)).toBe(false);
});

test("have an end", () => {
  const path = top();
  mkdirSync(path);
  try {
    prepareCgroup(path, 0);
    expect(nest(join(path, "payload"), 100, "n")).toBe(64);
    expect(readFileSync(join(path, "payload/cgroup.max.depth"), "utf8")).toBe("64\n");
  } finally {
    removeCgroup(path);
  }
});
