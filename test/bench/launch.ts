/**
 * Launch inside one running process, as a daemon does it: from the call to exec, and to the moment the payload's exit
 * is noticed. berth in this Node process with all protections on, beside floor.c, which does the same in C and in one
 * process too, and beside the other managers, which have no such mode and so are whole processes.
 */
import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { Launch } from "../../src/exec/launch.ts";
import { loadFilter } from "../../src/exec/seccomp-filter.ts";
import { INSTALLATION, stagePath } from "../../src/host/installation.ts";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { prepare } from "../../src/machine/prepare.ts";
import { whenReadable } from "../../src/sys/poll.ts";
import { cgroup2Mount } from "../lib/requires.ts";
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
import { copyOfDebian, peers } from "./peers.ts";

const PAYLOAD = ["/bin/true"];

const given = options(51);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const paths = findPaths(process.env, INSTALLATION, work);
const stopwatch = compileC("stopwatch", work);
const floor = compileC("floor", work);
const cgroup = join(cgroup2Mount() ?? "", `berth-bench-${process.pid}`);
mkdirSync(cgroup);

const launchers = [berth("berth", "all protections on; masks locked, keeper", paths)];
await launchers[0]?.run(); // fills the cache of filters
const filter = join(paths.cache, "seccomp", readdirSync(join(paths.cache, "seccomp"))[0] ?? "");
const contestants: Contestant[] = [
  ...launchers,
  inProcess("floor in C", "all protections on; masks not locked, no keeper", ["-f", filter, "-c", cgroup]),
  inProcess("floor in C, unprotected", "namespaces, mounts, pivot_root, exec: nothing else", []),
  ...installed(peers(tree, work, PAYLOAD)).map((peer) =>
    command(stopwatch, { ...peer, note: `process; ${peer.note}` }),
  ),
];
const results = await roundRobin(contestants, given.rounds, 5);
rmdirSync(cgroup);
const title = "Launch of /bin/true inside one process";
report({ title, ratioOf: "to exit", against: ["floor in C", "crun", "lxc-execute", "nspawn"] }, results, given);

/** Facts of the tree, plan and launch for each call; settings and facts of the host once, as a daemon has them. */
function berth(name: string, note: string, paths: Paths): Contestant {
  const request = { name: "bench", directory: tree, options: [], command: PAYLOAD, boot: false, console: undefined };
  const prepared = prepare(request, paths, INSTALLATION);
  const { arch } = readHostFacts();
  return {
    name,
    note,
    async run() {
      const begin = performance.now();
      const { plan } = prepared.plan({ foreground: false, stdio: "console", term: null });
      const planned = performance.now();
      const launch = new Launch(plan, {
        stage: stagePath(arch),
        arch,
        loadFilter: (policy) => loadFilter(policy, paths.cache),
      });
      await launch.run();
      const executed = performance.now();
      await whenReadable(launch.keeper);
      const exited = performance.now();
      launch.reapKeeper();
      launch.release();
      const released = performance.now();
      return {
        planned: planned - begin,
        "to exec": executed - begin,
        "to exit": exited - begin,
        released: released - begin,
      };
    },
  };
}

function inProcess(name: string, note: string, args: readonly string[]): Contestant {
  const server = new Server([floor, "-s", ...args, tree, ...PAYLOAD]);
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
