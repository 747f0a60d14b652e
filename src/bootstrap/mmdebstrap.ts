import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import type { BuildPlan } from "./build-plan.ts";
import { hostAptConfiguration } from "./host-apt.ts";
import { keyringPackages } from "./keyring-packages.ts";
import { mmdebstrapFailure } from "./mmdebstrap-failure.ts";
import { followMmdebstrap } from "./mmdebstrap-output.ts";
import type { MmdebstrapPlan } from "./mmdebstrap-plan.ts";
import type { OnProgress } from "./stage.ts";

const MMDEBSTRAP = "/usr/bin/mmdebstrap";
const HOOKS = "/usr/share/mmdebstrap/hooks";
const GIB = 2 ** 30;
/** Where mmdebstrap makes the tree, in its mount namespace. */
const TREE = "/mnt/tree";
/** Bytes that mmdebstrap's temporary files may take where the tree is made on a disk: keys, short lists. */
const TEMPORARY = GIB / 16;

/**
 * The init of a mount and pid namespace, so that a kill at any moment takes every process and mount with it. Arguments:
 * the size of a tmpfs in bytes or 0, then mmdebstrap's without its target; the directory it starts in gets `tree/`.
 *
 * The tree is made below /mnt because that can be reached by apt's unprivileged user, which the directories that it ends
 * up in cannot (0700), and apt would fetch as root there. In memory if that is large: dpkg writes everything twice and
 * removes half of it again, which costs 3 s and more on a disk, and what is copied to the disk then lies in one piece.
 * Temporary files are beside it, so that they end with the namespace too.
 */
const SCRIPT = `
set -eu
umask 022
ulimit -Sn 1024
size=$1
shift
mkdir tree
if [ "$size" -gt 0 ]; then
  mount -t tmpfs -o "mode=0755,size=$size" berth-bootstrap /mnt
  mkdir ${TREE}
else
  mount -t tmpfs -o "mode=0755,size=${TEMPORARY}" berth-bootstrap /mnt
  mkdir ${TREE}
  mount --bind tree ${TREE}
fi
mkdir -m 1777 /mnt/tmp
TMPDIR=/mnt/tmp mmdebstrap "$@"
if [ "$size" -gt 0 ]; then
  echo "I: copying the tree"
  cp -a -T ${TREE} tree
fi
`;

export interface MmdebstrapOptions {
  /** Gets `tree/`, and files for mmdebstrap beside it. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Bytes of memory there are to build in; process.availableMemory() unless told. */
  readonly memory?: number;
}

/** Makes `directory`/tree as `plan` says. @throws BerthError with the end of mmdebstrap's output */
export async function runMmdebstrap(
  { recipe, release }: Pick<BuildPlan, "recipe" | "release">,
  plan: MmdebstrapPlan,
  options: MmdebstrapOptions,
): Promise<void> {
  const { directory, signal, onProgress, memory = process.availableMemory() } = options;
  const what = `bootstrap of ${recipe}/${release}`;
  requireTools(what, plan);
  await writeFile(join(directory, "apt.conf"), await aptConfiguration(plan, directory), { mode: 0o600 });
  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const script = ["sh", "-c", SCRIPT, "berth-bootstrap", String(tmpfsSize(memory))];
  const result = await runCommand("unshare", [...namespaces, ...script, ...mmdebstrapArguments(plan, existsSync)], {
    cwd: directory,
    signal,
    pidNamespace: true,
    onLine: followMmdebstrap(onProgress),
  });
  if (!result.ok) throw mmdebstrapFailure(what, result.status, result.tail);
}

/** Preferences in a file of their own: apt takes none from its configuration. */
async function aptConfiguration({ preferences }: MmdebstrapPlan, directory: string): Promise<string> {
  const host = await hostAptConfiguration();
  if (preferences === "") return host;
  const path = join(directory, "preferences");
  await writeFile(path, preferences);
  return `${host}Dir::Etc::Preferences "${path}";\n`;
}

export function mmdebstrapArguments(plan: MmdebstrapPlan, exists: (path: string) => boolean): string[] {
  const hooks = plan.hooks.map((hook) => join(HOOKS, hook)).filter(exists);
  return [
    "--verbose",
    ...plan.options,
    ...hooks.map((hook) => `--hook-directory=${hook}`),
    // A file, as it may hold a proxy's password; finishTree removes what mmdebstrap makes of it.
    "--aptopt=./apt.conf",
    "--",
    plan.suite,
    TREE,
    // One argument a line would leave empty lines between them.
    ...(plan.sources.length > 0 ? [plan.sources.join("\n")] : []),
  ];
}

/** Half of the memory there is; 0, a disk, where that is less than a tree with its packages could need. */
export function tmpfsSize(memory: number): number {
  const half = Math.floor(memory / 2);
  return half >= GIB ? half : 0;
}

function requireTools(what: string, { keyrings }: MmdebstrapPlan): void {
  const missing = keyrings.filter((keyring) => !existsSync(keyring));
  const lacking = [...(existsSync(MMDEBSTRAP) ? [] : ["mmdebstrap"]), ...keyringPackages(missing)];
  if (lacking.length > 0)
    throw new BerthError(`${what} needs ${lacking.join(" and ")}, not installed here`, {
      hint: `apt-get install --no-install-recommends ${lacking.join(" ")}`,
    });
  const [keyring] = missing;
  if (keyring !== undefined) throw new BerthError(`${what} needs the keyring ${keyring}, which is not there`);
}
