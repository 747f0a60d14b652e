/** What goes through a command in a running machine: 1 GB from a file on its stdin to a pipe on its stdout, beside nsenter and lxc-attach. */
import { execFileSync } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRecord } from "../../src/machine/record.ts";
import { DaemonRoot } from "./daemon-root.ts";
import { startLxc } from "./fleet-peers.ts";
import { BERTH, type Contestant, installed, options, report, roundRobin, workDirectory } from "./lib.ts";

const CAT = `#include <unistd.h>
static char buffer[128 << 10];
int main(void) {
  for (ssize_t length; (length = read(0, buffer, sizeof buffer)) > 0;)
    for (ssize_t at = 0, written; at < length; at += written)
      if ((written = write(1, buffer + at, length - at)) < 0) return 1;
  return 0;
}`;

const given = options(9);
const work = workDirectory();
const root = new DaemonRoot(work);
const [name = ""] = root.machines(1);
const tree = join(root.paths.machines, name);
execFileSync("env", ["cc", "-O2", "-static", "-x", "c", "-o", join(tree, "bin/cat"), "-"], { input: CAT });
root.berth("start", name);
const pid = String(readRecord(name, root.paths)?.leader.pid);
const lxc = await startLxc(work, tree);
/** In memory: it is not a disk that is measured. */
const file = join(root.paths.run, "gigabyte");
writeFileSync(file, "");
for (let at = 0; at < 1024; at++) appendFileSync(file, Buffer.alloc(1 << 20));

function bulk(named: string, note: string, argv: readonly string[]): Contestant {
  return {
    name: named,
    note,
    async run() {
      const begin = performance.now();
      const counted = execFileSync("sh", ["-c", '"$@" <"$0" | wc -c', file, ...argv], {
        env: root.env,
        encoding: "utf8",
      });
      if (Number(counted) !== 1 << 30) throw new Error(`${counted.trim()} bytes came through ${argv.join(" ")}`);
      return { "1 GB": performance.now() - begin };
    },
  };
}

const peers = [
  { name: "nsenter", tool: "nsenter", note: "process", argv: ["nsenter", "-a", "-t", pid, "/bin/cat"] },
  { name: "lxc-attach", tool: "lxc-attach", note: "process; a machine of lxc's", argv: [...lxc.attach, "/bin/cat"] },
];
const results = await roundRobin(
  [
    bulk("berth exec", "process, through berthd", [BERTH, "exec", name, "--", "/bin/cat"]),
    ...installed(peers).map((peer) => bulk(peer.name, peer.note, peer.argv)),
  ],
  given.rounds,
);
lxc.stop();
report(
  { title: "1 GB through a command in a running machine", ratioOf: "1 GB", against: ["nsenter", "lxc-attach"] },
  results,
  given,
);
process.exit();
