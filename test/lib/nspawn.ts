/**
 * systemd-nspawn by settings files, to compare with: `needs("root", "systemd-nspawn")`.
 *
 *   const runs = await runNspawn(directory, tree, [text, Buffer.from(...)]);   // in order; runs[0].stdout
 *   const { status, stdout } = nspawn(["-D", tree, "--pipe", "/probe", "ids"]);  // one, by its command line
 */
import { execFile, type SpawnSyncReturns, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

export interface NspawnRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The name of the machine in all of them. */
export const NSPAWN_MACHINE = "web";

/**
 * A mount namespace with nothing but cgroup2 at /sys/fs/cgroup, and a cgroup of its own, $1: nspawn leaves some behind in
 * the one that it is started in.
 */
const COME_IN = `
set -eu
# Or it takes a tree without systemd for one of old, and makes cgroups in the hierarchies of v1 too.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1"
echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
`;
const GO_OUT = `
echo $$ >/sys/fs/cgroup/cgroup.procs
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +
`;

/** One shell for all, as each takes a tenth of a second. */
const SCRIPT = `${COME_IN}
cd "$2"
for file in [0-9]*; do
  cp "$file" ${NSPAWN_MACHINE}.nspawn
  status=0
  systemd-nspawn --quiet --settings=trusted --register=no --keep-unit -D "$2/${NSPAWN_MACHINE}" --console=pipe \\
    </dev/null >"out.$file" 2>"err.$file" || status=$?
  echo "$status" >"status.$file"
done
${GO_OUT}`;

const ONE = `${COME_IN}
own=$1
shift
status=0
systemd-nspawn --quiet --register=no --keep-unit "$@" || status=$?
set -- "$own"
${GO_OUT}
exit "$status"
`;

const INSIDE = ["--mount", "--propagation", "private", "sh", "-c"];
const CGROUP = `nspawn-${process.pid}`;

export function nspawn(words: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync("unshare", [...INSIDE, ONE, "sh", CGROUP, ...words], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs a machine by each of these settings, which are trusted. `directory` is empty, and of one run alone. */
export async function runNspawn(
  directory: string,
  tree: string,
  settings: readonly (string | Buffer)[],
): Promise<readonly NspawnRun[]> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  cpSync(tree, join(directory, NSPAWN_MACHINE), { recursive: true, verbatimSymlinks: true });
  const names = settings.map((_, index) => String(index).padStart(6, "0"));
  for (const [index, text] of settings.entries()) writeFileSync(join(directory, names[index] ?? ""), text);
  await promisify(execFile)("unshare", [...INSIDE, SCRIPT, "sh", CGROUP, directory]);
  const read = (what: string, name: string): string => readFileSync(join(directory, `${what}.${name}`), "utf8");
  return names.map((name) => ({
    status: Number(read("status", name)),
    stdout: read("out", name),
    stderr: read("err", name),
  }));
}
