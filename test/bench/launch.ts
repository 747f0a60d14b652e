/**
 * Launch inside one running process, as a daemon does it: from the call to exec, and to the moment the payload's exit
 * is noticed. berth in this Node process with all protections on, beside floor.c, which does the same in C and in one
 * process too, and beside the other managers, which have no such mode and so are whole processes.
 */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { removeSharedCgroup } from "../../src/exec/cgroup.ts";
import { Launch } from "../../src/exec/launch.ts";
import { filterFor } from "../../src/exec/seccomp-filter.ts";
import { StageProcess } from "../../src/exec/stage-process.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import type { LaunchPlan } from "../../src/plan/step.ts";
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
const paths = findPaths(process.env, INSTALLATION, work);
/** Settings and facts of the host are read once, as a daemon has them. */
const prepared = prepare(
  { name: "bench", directory: tree, options: [], command: PAYLOAD, boot: false, console: undefined },
  paths,
  INSTALLATION,
);
const planNow = () => prepared.plan({ foreground: false, stdio: "console", term: null }).plan;
/** A daemon has a stage waiting, 12 kB, and spawns the next one when a machine has been started. */
let spare = new StageProcess(stagePath(prepared.host.arch));
const floor = makeFloor(work);
keepCgroup(planNow());
const first = (await launch())["to exit"];
// A daemon's code is hot: V8 has compiled what it does often.
for (let n = 0; n < WARMUP; n++) await launch();
const note = `all protections on; masks locked, keeper; hot, after ${WARMUP} launches: the first took ${first.toFixed(1)}`;

const protection = floor.protectedBy(planNow());
const results = await roundRobin(
  [
    { name: "berth", note, run: launch },
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
await spare.discard();
report(
  { title, ratioOf: "to exit", against: ["floor in C", "floor, no process start", "crun", "lxc-execute", "nspawn"] },
  results,
  given,
);

/** Facts of the tree, plan and launch for each call. */
async function launch() {
  const { arch } = prepared.host;
  const begin = performance.now();
  const plan = planNow();
  const planned = performance.now();
  const launch = new Launch(plan, {
    stage: stagePath(arch),
    arch,
    loadFilter: (policy) => filterFor(policy, paths.cache),
    spare,
  });
  await launch.run();
  const executed = performance.now();
  await launch.exit();
  const exited = performance.now();
  await launch.keeperEnd();
  launch.release();
  spare = new StageProcess(stagePath(arch));
  const released = performance.now();
  return {
    planned: planned - begin,
    "to exec": executed - begin,
    "to exit": exited - begin,
    released: released - begin,
  };
}

/** The cgroup above those of machines is there already, as floor.c has it and a daemon would: something else is in it. */
function keepCgroup({ steps }: LaunchPlan): void {
  for (const step of steps) {
    if (step.kind !== "make-cgroup") continue;
    const kept = join(dirname(step.args.path), `kept-${process.pid}`);
    mkdirSync(kept, { recursive: true });
    process.on("exit", () => removeSharedCgroup(kept));
  }
}

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
