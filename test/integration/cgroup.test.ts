/** Cgroups that a machine has nested as deep as it liked. */
import { spawn } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect, test } from "vitest";
import { emptyCgroup, prepareCgroup, removeCgroup } from "../../src/exec/cgroup.ts";
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
    expect(readFileSync(join(path, "payload/cgroup.max.descendants"), "utf8")).toBe("4096\n");
  } finally {
    removeCgroup(path);
  }
});

test("are removed in small steps, however many there are", async () => {
  const path = top();
  mkdirSync(path);
  for (let count = 0; count < 3000; count++) mkdirSync(join(path, `n${count}`));
  mkdirSync(join(path, "n7/below"));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await emptyCgroup(path);
  delay.disable();
  expect(existsSync(path)).toBe(false);
  // Half a second and more, as one step.
  expect(delay.max / 1e6).toBeLessThan(300);
  await emptyCgroup(path); // gone already
});

test("with a process in it are left alone by that", async () => {
  const path = top();
  mkdirSync(join(path, "empty"), { recursive: true });
  mkdirSync(join(path, "used"));
  const sleeper = spawn("sleep", ["100"]);
  try {
    writeFileSync(join(path, "used/cgroup.procs"), String(sleeper.pid));
    await emptyCgroup(path);
    expect(readFileSync(join(path, "used/cgroup.procs"), "utf8")).toBe(`${sleeper.pid}\n`);
  } finally {
    removeCgroup(path);
  }
});
