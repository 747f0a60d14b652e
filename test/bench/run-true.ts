/** /bin/true in a machine as a whole process, from the call of the command to its end: `berth run` beside its peers. */
import { join } from "node:path";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { prepare } from "../../src/machine/prepare.ts";
import { findTool } from "../lib/requires.ts";
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
import { copyOfDebian, makeFloor, PROTECTED, peers, UNPROTECTED } from "./peers.ts";

const PAYLOAD = ["/bin/true"];

const given = options(31);
const work = workDirectory();
const tree = await copyOfDebian(join(work, "tree"));
const stopwatch = compileC("stopwatch", work);
const floor = makeFloor(work);
const { plan } = await prepare(
  { name: "bench", directory: tree, options: [], command: PAYLOAD, boot: false, console: undefined },
  findPaths(process.env, INSTALLATION, work),
  INSTALLATION,
).plan({ foreground: true, stdio: "console", term: null });

const hosts = findTool("node");
const results = await roundRobin(
  [
    time("/bin/true", "on the host: what the measuring takes", PAYLOAD),
    time("floor in C", PROTECTED, [floor.program, ...floor.protectedBy(plan), tree, ...PAYLOAD]),
    time("floor in C, unprotected", UNPROTECTED, [floor.program, tree, ...PAYLOAD]),
    time("berth run", "all protections on; masks locked, keeper", [BERTH, "run", "-D", tree, "--", ...PAYLOAD]),
    time("berth version", "a verb that does nothing", [BERTH, "version"]),
    time("node, pinned", `${versionOf(RUNTIME)} -e 0`, [RUNTIME, "-e", "0"]),
    ...(hosts === undefined ? [] : [time("node, the host's", `${versionOf(hosts)} -e 0`, [hosts, "-e", "0"])]),
    ...installed(peers(tree, work, PAYLOAD)).map((peer) => command(stopwatch, peer)),
  ],
  given.rounds,
);
const against = ["floor in C", "node, pinned", "runc", "nspawn", "nspawn, no seccomp"];
report({ title: "/bin/true in a machine, whole processes", ratioOf: "to exit", against }, results, given);

function time(name: string, note: string, argv: readonly string[]): Contestant {
  return command(stopwatch, { name, note, argv, env: { BERTH_ROOT: work } });
}
