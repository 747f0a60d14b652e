/** Cgroups that a machine has nested as deep as it liked. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { clearCgroup, delegateCgroup, divideCgroup, emptyCgroup, removeCgroup } from "../../src/exec/cgroup.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { killIn } from "../../src/machine/kill-in.ts";
import type { MachineRecord } from "../../src/machine/record.ts";
import { poll } from "../lib/berth.ts";
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

/** The longest step of some work, in ms of CPU time: how long others have the processor meanwhile is no matter of it. */
async function longestStep(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = process.threadCpuUsage();
  const look = (): void => {
    const { user, system } = process.threadCpuUsage(last);
    longest = Math.max(longest, (user + system) / 1000);
    last = process.threadCpuUsage();
  };
  const ticking = setInterval(look, 1);
  await work();
  look();
  clearInterval(ticking);
  return longest;
}

test("are removed, though their path is longer than the kernel takes one", () => {
  const path = top();
  mkdirSync(path);
  expect(nest(path, 60, "n".repeat(200))).toBe(60);
  nest(path, 3, "beside");
  removeCgroup(path);
  expect(existsSync(path)).toBe(false);
});

test("of systemd's: what is in them goes, and they stay", async () => {
  const path = top();
  mkdirSync(join(path, "payload/below"), { recursive: true });
  const sleepers = ["", "payload", "payload/below"].map((cgroup) => {
    const sleeper = spawn("sleep", ["100"]);
    writeFileSync(join(path, cgroup, "cgroup.procs"), String(sleeper.pid));
    return once(sleeper, "exit");
  });
  try {
    clearCgroup(path);
    expect(await Promise.all(sleepers)).toEqual(sleepers.map(() => [null, "SIGKILL"]));
    expect(readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory())).toEqual([]);
  } finally {
    removeCgroup(path);
  }
  clearCgroup(path); // gone already
});

test("have an end", () => {
  const path = top();
  mkdirSync(path);
  try {
    divideCgroup(path);
    delegateCgroup(join(path, "payload"), 0);
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
  const longest = await longestStep(() => emptyCgroup(path));
  expect(existsSync(path)).toBe(false);
  // 150 and more as one step, which takes several times as long by the clock.
  expect(longest).toBeLessThan(60);
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

test("with thousands of processes in them: each gets a signal, and others their turn meanwhile", async () => {
  const path = top();
  const payload = join(path, "payload");
  mkdirSync(join(payload, "below"), { recursive: true });
  const into = (cgroup: string, count: number): string =>
    `echo $$ >${cgroup}/cgroup.procs; i=0; while [ $i -lt ${count} ]; do sleep 1000 & i=$((i+1)); done`;
  execFileSync("sh", ["-c", `${into(payload, 1500)}; ${into(join(payload, "below"), 40)}`], { stdio: "ignore" });
  const count = (cgroup: string): number =>
    readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean).length;
  try {
    expect([count(payload), count(join(payload, "below"))]).toEqual([1500, 40]);
    const longest = await longestStep(() => killIn({ cgroup: path } as MachineRecord, "all", 15));
    // Half a second and more, where each looks at the list of all.
    expect(longest).toBeLessThan(200);
    await poll("their ends", () => (count(payload) + count(join(payload, "below")) === 0 ? true : undefined));
  } finally {
    removeCgroup(path);
  }
});
