/**
 * Snapshots of a running Debian machine that writes: of a subvolume beside btrfs(8) itself, which stops nothing and writes nothing
 * to the disk, of a directory, whose files are copied, and of a stack, of which those that the machine has changed are. `stopped` is for how long the machine's processes were.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DaemonClient } from "../../src/cli/daemon-client.ts";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { debianTree } from "../lib/trees.ts";
import { BERTH, type Contestant, installed, options, report, roundRobin, type Sample, workDirectory } from "./lib.ts";

/** Bytes; the file has holes. */
const DISK = 8 * 2 ** 30;
const WRITER = "while :; do i=$((i+1)); echo $i >/var/tmp/counter; done";

const given = options(15);
const tree = await debianTree("bookworm");
for (const type of ["btrfs", "ext4", "xfs"] as const) await measure(type, type === "btrfs" ? "subvolume" : "directory");
await measure("ext4", "stack");

async function measure(type: "btrfs" | "ext4" | "xfs", kind: "subvolume" | "directory" | "stack"): Promise<void> {
  const work = workDirectory();
  using disk = await mountFileSystem(type, join(work, "disk"), async () => undefined, DISK);
  // What the daemon leaves open while it ends is not on the disk.
  const env = { ...process.env, BERTH_ROOT: disk.path, BERTH_RUN: join(work, "run") };
  const paths = findPaths(env, INSTALLATION, undefined);
  const run = (program: string, ...words: readonly string[]): string =>
    execFileSync(program, words, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  mkdirSync(paths.machines, { recursive: true });
  run(BERTH, "import-fs", tree, kind === "stack" ? "base" : "m");
  if (kind === "stack") run(BERTH, "clone", "base", "m");
  run(BERTH, "start", "m");
  try {
    run(BERTH, "exec", "m", "--", "sh", "-c", `(${WRITER}) >/dev/null 2>&1 &`);
    const client = await DaemonClient.connect(paths);
    if (client === null) throw new Error("no daemon runs");
    const remove = (name: string): void => void run(BERTH, "remove", `m@${name}`);
    const ours: Contestant = {
      name: "berthd, connected",
      note: "a Node client; settings too; on the disk when it ends",
      run: () =>
        timed(
          async () => client.call("snapshot", { name: "m", snapshot: "s", comment: "" }),
          () => remove("s"),
        ),
    };
    const whole: Contestant = {
      name: "berth snapshot",
      note: "the same as a whole process",
      run: () =>
        timed(
          async () => JSON.parse(run(BERTH, "snapshot", "m", "s", "--json")),
          () => remove("s"),
        ),
    };
    const target = join(paths.machines, ".bench");
    const image = join(paths.machines, kind === "stack" ? "m.mstack" : "m");
    const peer =
      type === "btrfs"
        ? { name: "btrfs subvolume snapshot", tool: "btrfs", argv: ["btrfs", "subvolume", "snapshot", image, target] }
        : { name: "cp -a", tool: "cp", argv: ["cp", "-a", image, target] };
    const undo = type === "btrfs" ? ["btrfs", "subvolume", "delete", target] : ["rm", "-rf", target];
    const peers = installed([peer]).map(
      ({ name, argv }): Contestant => ({
        name,
        note: "process; of a machine that goes on meanwhile",
        run: () =>
          timed(
            // cp(1) complains of what goes meanwhile.
            async () => void spawnSync(argv[0] ?? "", argv.slice(1), { stdio: "ignore" }),
            () => void run(undo[0] ?? "", ...undo.slice(1)),
          ),
      }),
    );
    const results = await roundRobin([ours, whole, ...peers], given.rounds);
    client.close();
    report(
      { title: `Snapshot of a running machine: a ${kind} on ${type}`, ratioOf: "to end", against: [peer.name] },
      results,
      given,
    );
  } finally {
    run(BERTH, "terminate", "m");
    run(BERTH, "daemon", "stop");
  }
}

/** What is made is removed again, which does not count. */
async function timed(
  act: () => Promise<{ readonly frozenMs: number | null } | undefined>,
  remove: () => void,
): Promise<Sample> {
  const begin = performance.now();
  const made = await act();
  const took = performance.now() - begin;
  remove();
  return { "to end": took, ...(made === undefined ? {} : { stopped: made.frozenMs ?? 0 }) };
}
