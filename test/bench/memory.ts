/**
 * Memory of what supervises machines, by their number: berthd and its keepers, lxc-start, systemd-nspawn. And how long
 * berthd lets another client wait while it starts them.
 */
import { listMachines } from "../../src/machine/record.ts";
import { DaemonRoot } from "./daemon-root.ts";
import { fleetPeers, PeerFleet } from "./fleet-peers.ts";
import { compileC, environment, markdown, options, pss, workDirectory } from "./lib.ts";

const COUNTS = [1, 20, 50, 200];
/** For the daemon to collect its garbage. */
const SETTLE_MS = 1500;
const PING_MS = 2;

const given = options(1);
const work = workDirectory();
const init = compileC("tinyinit", work);
const root = new DaemonRoot(work);
const names = root.machines(Math.max(...COUNTS));
root.berth("daemon", "start");
// What the first machine costs is code, and no machine's.
root.berth("start", ...names.slice(0, 2));
root.berth("terminate", ...names.slice(0, 2));
const client = await root.client();
await settle();
const idle = pss(root.daemonPid);

interface Row {
  readonly machines: number;
  readonly daemon: number;
  readonly keepers: number;
  /** ms */
  readonly delay: { readonly median: number; readonly p99: number; readonly worst: number };
}

const rows: Row[] = [];
for (const machines of COUNTS) {
  const some = names.slice(0, machines);
  const waits = await whileStarting(some);
  await settle();
  const keepers = listMachines(root.paths).flatMap((machine) =>
    machine.state === "unknown" ? [] : [machine.keeper.pid],
  );
  const keepersPss = keepers.reduce((sum, pid) => sum + pss(pid), 0);
  rows.push({ machines, daemon: pss(root.daemonPid), keepers: keepersPss, delay: percentiles(waits) });
  root.berth("terminate", ...some);
}

const others = new Map<string, readonly number[]>();
for (const { name, argv } of fleetPeers(work)) {
  const taken: number[] = [];
  for (const count of COUNTS) {
    const fleet = new PeerFleet(work, `${name}-${count}`, count, init, argv);
    await fleet.start(true);
    taken.push(fleet.memory());
    await fleet.stop();
    fleet.close();
  }
  others.set(name, taken);
}

if (given.json) console.log(JSON.stringify({ environment: environment(), idle, rows, others: [...others] }));
else {
  console.log(`\n### Memory of what supervises N machines, PSS in kB\n\n${environment()}; berthd idle: ${idle}\n`);
  console.log(markdown([header(), ...rows.map(cells)]));
}
client.close();
process.exit();

function header(): readonly string[] {
  const more = [...others.keys()].flatMap((name) => [name, `berth / ${name}`]);
  return [
    "N",
    "berthd",
    "keepers",
    "each more than idle",
    ...more,
    "wait of another client, ms: median",
    "p99",
    "worst",
  ];
}

function cells({ machines, daemon, keepers, delay }: Row, index: number): readonly string[] {
  const all = daemon + keepers;
  const more = [...others.values()].flatMap((taken) => {
    const other = taken[index] ?? NaN;
    return [String(other), (all / other).toFixed(2)];
  });
  const each = ((all - idle) / machines).toFixed(0);
  const waits = [delay.median, delay.p99, delay.worst].map((value) => value.toFixed(1));
  return [String(machines), String(daemon), String(keepers), each, ...more, ...waits];
}

/** How long a client waits for the answer to nothing while others' machines are started, ms. */
async function whileStarting(some: readonly string[]): Promise<readonly number[]> {
  const starter = await root.client();
  let over = false;
  const started = Promise.all(some.map((name) => starter.call("start", { name, timeout: 60_000 }))).finally(() => {
    over = true;
    starter.close();
  });
  const waits: number[] = [];
  while (!over) {
    const begin = performance.now();
    await client.call("ping", {});
    waits.push(performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, PING_MS));
  }
  await started;
  return waits;
}

function percentiles(values: readonly number[]): Row["delay"] {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return { median: at(0.5), p99: at(0.99), worst: at(1) };
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}
