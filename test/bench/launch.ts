/**
 * Launch inside one running process, as a daemon does it: from the call to exec, and to the moment the payload's exit
 * is noticed. berth in this Node process with all protections on, beside floor.c, which does the same in C and in one
 * process too, and beside the other managers, which have no such mode and so are whole processes.
 */
import { join } from "node:path";
import { discardSpare, inProcess, keepCgroup } from "./in-process.ts";
import {
  type Contestant,
  command,
  compileC,
  installed,
  options,
  report,
  roundRobin,
  Server,
  workDirectory,
} from "./lib.ts";
import { copyOfDebian, makeFloor, PROTECTED, peers, UNPROTECTED } from "./peers.ts";

const PAYLOAD = ["/bin/true"];
const WARMUP = 50;

const given = options(51);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const stopwatch = compileC("stopwatch", work);
const machine = inProcess(work, tree, PAYLOAD);
const floor = makeFloor(work);
keepCgroup(await machine.plan());
const first = (await machine.launch())["to exit"];
// A daemon's code is hot: V8 has compiled what it does often.
for (let n = 0; n < WARMUP; n++) await machine.launch();
const note = `all protections on; masks locked, keeper; hot, after ${WARMUP} launches: the first took ${first.toFixed(1)}`;

const protection = floor.protectedBy(await machine.plan());
const results = await roundRobin(
  [
    { name: "berth", note, run: () => machine.launch() },
    command(stopwatch, {
      name: "floor in C",
      note: `process; ${PROTECTED}`,
      argv: [floor.program, ...protection, tree, ...PAYLOAD],
    }),
    floorServer("floor, no process start", PROTECTED, protection),
    floorServer("floor, unprotected", UNPROTECTED, []),
    ...installed(peers(tree, work, PAYLOAD)).map((peer) =>
      command(stopwatch, { ...peer, note: `process; ${peer.note}` }),
    ),
  ],
  given.rounds,
  5,
);
const title = "Launch of /bin/true inside one process";
await discardSpare();
report(
  { title, ratioOf: "to exit", against: ["floor in C", "floor, no process start", "crun", "lxc-execute", "nspawn"] },
  results,
  given,
);

function floorServer(name: string, note: string, args: readonly string[]): Contestant {
  const server = new Server([floor.program, "-s", ...args, tree, ...PAYLOAD]);
  return {
    name,
    note,
    async run() {
      const [exec = NaN, exit = NaN, status] = await server.ask();
      if (status !== 0) throw new Error(`exit status ${status}`);
      return { "to exec": exec / 1e6, "to exit": exit / 1e6 };
    },
    close: () => server.close(),
  };
}
