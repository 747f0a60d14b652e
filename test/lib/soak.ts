/** Rounds of start, exec, list and stop through the daemon: what it has at the end is what it had at the beginning. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { DaemonClient } from "../../src/cli/daemon-client.ts";
import { findPaths } from "../../src/host/paths.ts";
import type { BerthRoot } from "./berth.ts";
import { openFds } from "./host-state.ts";
import { probe, probeTree } from "./probe.ts";

export interface Soak {
  readonly rounds: number;
  readonly machines: number;
}

/** For garbage to be collected, and what has ended to be reaped. */
const SETTLE_MS = 2000;
/** kB that a daemon may have more after it all: code that was compiled meanwhile, tables that have grown. */
const GROWTH_KB = 12_000;
const TIMEOUT = 60_000;

/** Of how many rounds one is of all machines at once. */
const ALL_IN = 10;

/** Every round starts some of the machines, or all, runs a command in each and ends them, in one way or the other. */
export async function soak(root: BerthRoot, { rounds, machines }: Soak): Promise<void> {
  const names = Array.from({ length: machines }, (_, index) => `m${index}`);
  for (const name of names) {
    await probeTree({ at: join(root.machines, name), init: true });
    root.settings(name, "[Exec]\nKillSignal=SIGRTMIN+3");
  }
  const started = await root.berth("daemon", "start");
  expect(started.status, started.stderr).toBe(0);
  const client = await DaemonClient.connect(findPaths(root.env, root.path, undefined));
  if (client === null) throw new Error("there is no daemon");
  const { pid } = await client.call("status", {});
  const batch = Math.min(machines, 5);
  const round = async (number: number): Promise<void> => {
    const all = number % ALL_IN === 0;
    const some = all ? names : names.filter((_, index) => Math.floor(index / batch) === number % (machines / batch));
    await Promise.all(some.map((name) => client.call("start", { name, timeout: TIMEOUT })));
    const argv = probe("exit", "3");
    const exec = { argv, user: null, directory: null, environment: [], stdio: "own" } as const;
    const ends = await Promise.all(some.map((name) => client.call("exec", { name, ...exec })));
    expect(ends.map(({ status }) => status)).toEqual(some.map(() => 3));
    await client.call("list", { all: true });
    await Promise.all(
      some.map((name, index) =>
        (Math.floor(number / ALL_IN) + index) % 2 === 0
          ? client.call("powerOff", { name, wait: true, timeout: TIMEOUT })
          : client.call("terminate", { name }),
      ),
    );
  };
  // What is compiled and cached at first is no leak.
  for (let warm = 0; warm < Math.max(5, rounds / 10); warm++) await round(warm);
  const before = await state(pid);
  for (let number = 0; number < rounds; number++) await round(number);
  const after = await state(pid);
  expect(after.fds).toEqual(before.fds);
  expect(after.children).toEqual(before.children);
  expect(after.mounts).toBe(before.mounts);
  expect(after.rss - before.rss, `from ${before.rss} kB to ${after.rss} kB`).toBeLessThan(GROWTH_KB);
  client.close();
}

async function state(pid: number) {
  await sleep(SETTLE_MS);
  return {
    // By what they are: numbers of sockets and the like differ.
    fds: openFds(pid)
      .map((fd) => fd.replace(/\d+/g, "N"))
      .sort(),
    children: readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).length,
    mounts: readFileSync("/proc/self/mountinfo", "utf8").split("\n").length,
    rss: Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]),
  };
}
