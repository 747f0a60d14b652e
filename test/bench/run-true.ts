/** /bin/true in a machine as a whole process, from the call of the command to its end: `berth run` beside its peers. */
import { mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { cgroup2Mount, findTool } from "../lib/requires.ts";
import {
  BERTH,
  type Contestant,
  command,
  compileC,
  installed,
  options,
  RUNTIME,
  report,
  roundRobin,
  versionOf,
  workDirectory,
} from "./lib.ts";
import { copyOfDebian, peers } from "./peers.ts";

const PAYLOAD = ["/bin/true"];

const given = options(31);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const stopwatch = compileC("stopwatch", work);
const floor = compileC("floor", work);
const cgroup = join(cgroup2Mount() ?? "", `berth-bench-${process.pid}`);
mkdirSync(cgroup);

const berth = time("berth run", "all protections on; masks locked, keeper", [
  BERTH,
  "run",
  "-D",
  tree,
  "--",
  ...PAYLOAD,
]);
await berth.run(); // fills the caches of filters and of compiled code
const filters = join(work, "cache/seccomp");
const filter = join(filters, readdirSync(filters)[0] ?? "");
const contestants: Contestant[] = [
  time("/bin/true", "on the host: what the measuring takes", PAYLOAD),
  time("floor in C", "all protections on; masks not locked, no keeper", [
    floor,
    "-f",
    filter,
    "-c",
    cgroup,
    tree,
    ...PAYLOAD,
  ]),
  time("floor in C, unprotected", "namespaces, mounts, pivot_root, exec: nothing else", [floor, tree, ...PAYLOAD]),
  berth,
  time("berth version", "a verb that does nothing", [BERTH, "version"]),
  time("node, pinned", `${versionOf(RUNTIME)} -e 0`, [RUNTIME, "-e", "0"]),
  ...(findTool("node") === undefined
    ? []
    : [time("node, the host's", `${versionOf("node")} -e 0`, ["node", "-e", "0"])]),
  ...installed(peers(tree, work, PAYLOAD)).map((peer) => command(stopwatch, peer)),
];
const results = await roundRobin(contestants, given.rounds);
rmdirSync(cgroup);
const against = ["floor in C", "node, pinned", "runc", "nspawn", "nspawn, no seccomp"];
report({ title: "/bin/true in a machine, whole processes", ratioOf: "to exit", against }, results, given);

function time(name: string, note: string, argv: readonly string[]): Contestant {
  return command(stopwatch, { name, note, argv, env: { BERTH_ROOT: work } });
}
