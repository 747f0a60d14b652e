/**
 * How long berthd's event loop keeps others waiting while it starts 50 machines: what node measures in the daemon
 * (perf_hooks.monitorEventLoopDelay, a timer of 1 ms, which is the least that it can tell).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DaemonRoot } from "./daemon-root.ts";
import { options, REPOSITORY, report, roundRobin, type Sample, workDirectory } from "./lib.ts";

const COUNT = 50;
/** ms, for what berthd does when it is idle. */
const REST = 1500;
const LOOK = 5;

const given = options(11);
const work = workDirectory();
const delays = join(work, "delays");
const root = new DaemonRoot(work, {
  NODE_OPTIONS: `--require=${join(REPOSITORY, "test/bench/loop-delay.cjs")}`,
  BERTH_BENCH_DELAYS: delays,
});
const names = root.machines(COUNT);
root.berth("daemon", "start");

const results = await roundRobin([{ name: "berthd", note: `starting ${COUNT}`, run }], given.rounds, 1);
report({ title: `Delay of berthd's event loop, ${COUNT} machines`, ratioOf: "p99", against: [] }, results, given);
process.exit();

async function run(): Promise<Sample> {
  await sleep(REST);
  await told();
  const client = await root.client();
  const begin = performance.now();
  await Promise.all(names.map((name) => client.call("start", { name, timeout: 60_000 })));
  const started = performance.now() - begin;
  client.close();
  const { p50, p99, longest } = await told();
  root.berth("terminate", ...names);
  return { started, p50, p99, longest };
}

/** Since it was asked last. */
async function told(): Promise<{ readonly p50: number; readonly p99: number; readonly longest: number }> {
  const before = lines().length;
  process.kill(root.daemonPid, "SIGUSR2");
  while (lines().length === before) await sleep(LOOK);
  return JSON.parse(lines().at(-1) ?? "");
}

function lines(): readonly string[] {
  try {
    return readFileSync(delays, "utf8").trimEnd().split("\n");
  } catch {
    return [];
  }
}
