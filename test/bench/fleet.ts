/**
 * 50 machines with an init of a few lines: started by one command and stopped, and the list of them; beside lxc and
 * systemd-nspawn, which are a process a machine. The daemon runs already.
 */
import { DaemonRoot } from "./daemon-root.ts";
import { fleetPeers, PeerFleet, type Supervisor } from "./fleet-peers.ts";
import {
  BERTH,
  type Contestant,
  command,
  compileC,
  options,
  RUNTIME,
  report,
  roundRobin,
  workDirectory,
} from "./lib.ts";

const COUNT = 50;
const given = options(7);
const work = workDirectory();
const stopwatch = compileC("stopwatch", work);
const init = compileC("tinyinit", work);
const root = new DaemonRoot(work);
const names = root.machines(COUNT);
root.berth("daemon", "start");

const results = await roundRobin(
  [berth(), ...fleetPeers(work).flatMap(({ name, argv }) => [peer(name, argv, false), peer(name, argv, true)])],
  given.rounds,
  1,
);
report(
  {
    title: `${COUNT} machines with a tiny init`,
    ratioOf: "started",
    against: ["lxc, one by one", "lxc, all at once", "nspawn, all at once"],
  },
  results,
  given,
);

root.berth("start", ...names);
const listing = await roundRobin(
  [
    command(stopwatch, {
      name: "berth list",
      note: `process, with ${COUNT} machines`,
      argv: [BERTH, "list"],
      env: root.env,
    }),
    command(stopwatch, { name: "node, pinned", note: "process: -e 0", argv: [RUNTIME, "-e", "0"] }),
  ],
  31,
);
report({ title: `A list of ${COUNT} machines`, ratioOf: "to exit", against: ["node, pinned"] }, listing, given);
process.exit();

function berth(): Contestant {
  return {
    name: "berth start",
    note: "one command, its client included; all protections",
    async run() {
      const begin = performance.now();
      root.berth("start", ...names);
      const started = performance.now();
      root.berth("terminate", ...names);
      return { started: started - begin, stopped: performance.now() - started };
    },
  };
}

function peer(name: string, argv: Supervisor, inParallel: boolean): Contestant {
  const how = inParallel ? "all at once" : "one by one";
  const fleet = new PeerFleet(work, `${name}-${inParallel}`, COUNT, init, argv);
  return {
    name: `${name}, ${how}`,
    note: "a process a machine",
    async run() {
      const begin = performance.now();
      await fleet.start(inParallel);
      const started = performance.now();
      await fleet.stop();
      return { started: started - begin, stopped: performance.now() - started };
    },
    close: () => fleet.close(),
  };
}
