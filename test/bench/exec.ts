/**
 * One command in a running machine: asked for by a client that is connected to berthd already, and as a whole process,
 * beside nsenter, lxc-attach and a floor in C that does nothing but join the same machine and execute.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { readRecord } from "../../src/machine/record.ts";
import { DaemonRoot } from "./daemon-root.ts";
import { startLxc } from "./fleet-peers.ts";
import { BERTH, command, compileC, installed, options, RUNTIME, report, roundRobin, workDirectory } from "./lib.ts";

const given = options(51);
const work = workDirectory();
const stopwatch = compileC("stopwatch", work);
const setns = compileC("setns", work);
const root = new DaemonRoot(work);
const [name = ""] = root.machines(1);
const tree = join(root.paths.machines, name);
const program = ["cc", "-O2", "-static", "-x", "c", "-o", join(tree, "bin/true"), "-"];
execFileSync("env", program, { input: "int main(void) { return 0; }" });
root.berth("start", name);
const pid = String(readRecord(name, root.paths)?.leader.pid);
const client = await root.client();
const lxc = await startLxc(work, tree);
const TRUE = ["/bin/true"];

async function ask(): Promise<{ "to exit": number }> {
  const begin = performance.now();
  const asked = { name, argv: TRUE, user: null, directory: null, environment: [], stdio: "own" } as const;
  const { status } = await client.call("exec", asked);
  if (status !== 0) throw new Error(`exit status ${status}`);
  return { "to exit": performance.now() - begin };
}

const tools = [
  { name: "nsenter", tool: "nsenter", note: "process", argv: ["nsenter", "-a", "-t", pid, ...TRUE] },
  { name: "lxc-attach", tool: "lxc-attach", note: "process; a machine of lxc's", argv: [...lxc.attach, ...TRUE] },
];
const results = await roundRobin(
  [
    { name: "berth, connected", note: "a Node client through berthd; hot", run: ask },
    command(stopwatch, { name: "floor in C", note: "process: setns, vfork, exec", argv: [setns, pid, ...TRUE] }),
    command(stopwatch, {
      name: "berth exec",
      note: "process, through berthd",
      argv: [BERTH, "exec", name, "--", ...TRUE],
      env: root.env,
    }),
    command(stopwatch, {
      name: "berth list",
      note: "process: a verb that needs what berthd publishes",
      argv: [BERTH, "list"],
      env: root.env,
    }),
    command(stopwatch, { name: "node, pinned", note: "process: -e 0", argv: [RUNTIME, "-e", "0"] }),
    ...installed(tools).map((peer) => command(stopwatch, peer)),
  ],
  given.rounds,
  20,
);
client.close();
lxc.stop();
const against = ["floor in C", "node, pinned", "nsenter", "lxc-attach"];
report({ title: "A command in a running machine", ratioOf: "to exit", against }, results, given);
process.exit();
