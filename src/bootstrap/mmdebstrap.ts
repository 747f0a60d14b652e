import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import type { BuildPlan } from "./build-plan.ts";
import { runToolScript } from "./confine-tool.ts";
import { hostAptConfiguration } from "./host-apt.ts";
import { keyringPackages } from "./keyring-packages.ts";
import { mmdebstrapFailure } from "./mmdebstrap-failure.ts";
import { followMmdebstrap } from "./mmdebstrap-output.ts";
import type { MmdebstrapPlan } from "./mmdebstrap-plan.ts";
import { otherWay } from "./run-tool.ts";
import type { OnProgress } from "./stage.ts";
import { writeToolFile } from "./tool-directory.ts";

const MMDEBSTRAP = "/usr/bin/mmdebstrap";
const HOOKS = "/usr/share/mmdebstrap/hooks";
const GIB = 2 ** 30;
/** Where mmdebstrap makes the tree, in its view of the host (confine-tool.ts). */
const TREE = "/tree";

/**
 * Argument: the size of a tmpfs in bytes or 0, then mmdebstrap's. In memory if that is large: dpkg writes everything twice
 * and removes half of it again, which costs 3 s and more on a disk, and what is copied to the disk then lies in one piece.
 *
 * mmdebstrap may not mount anything, nor make nodes. Devices are there before it begins, and /proc comes when the essential
 * packages have been unpacked (before, they could not be): it asks for that.
 */
const SCRIPT = `
ulimit -Sn 1024
size=$1
shift
if [ "$size" -gt 0 ]; then
  mkdir /disk
  mount --bind /tree /disk
  mount -t tmpfs -o "mode=0755,size=$size,nodev" berth-bootstrap /tree
fi
mkdir /tree/dev
mount -t tmpfs -o mode=0755,size=64k,nosuid berth-devices /tree/dev
make_devices /tree/dev
mkdir -p /etc/apt/apt.conf.d
chmod 1777 /tmp
mkfifo /tool/please /tool/done
{
  read -r asked </tool/please
  [ ! -L /tree/proc ] && mount --rbind /proc /tree/proc
  echo "$asked" >/tool/done
} &
confined mmdebstrap "$@"
umount -R -l /tree/proc /tree/dev
if [ "$size" -gt 0 ]; then
  echo "I: copying the tree"
  cp -a -x -T /tree /disk
fi
`;

/** Runs when the essential packages have been unpacked. */
const EXTRACT_HOOK = "echo proc >/tool/please; read -r mounted </tool/done";

export interface MmdebstrapOptions {
  /** Has a tool directory (tool-directory.ts); gets `tree/`. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Bytes of memory there are to build in; process.availableMemory() unless told. */
  readonly memory?: number;
}

/** Makes `directory`/tree as `plan` says. @throws BerthError with the end of mmdebstrap's output */
export async function runMmdebstrap(
  { recipe, release, image }: Pick<BuildPlan, "recipe" | "release" | "image">,
  plan: MmdebstrapPlan,
  options: MmdebstrapOptions,
): Promise<void> {
  const { directory, signal, onProgress, memory = process.availableMemory() } = options;
  const what = `bootstrap of ${recipe}/${release}`;
  requireTools(what, image, plan);
  await mkdir(join(directory, "tree"), { mode: 0o755 });
  await writeToolFile(directory, "apt.conf", await aptConfiguration(plan, directory));
  const result = await runToolScript(SCRIPT, [String(tmpfsSize(memory)), ...mmdebstrapArguments(plan, existsSync)], {
    directory,
    may: "fetch",
    signal,
    onLine: followMmdebstrap(onProgress),
  });
  if (!result.ok) throw mmdebstrapFailure(what, result.status, result.tail);
}

/** Preferences in a file of their own: apt takes none from its configuration. */
async function aptConfiguration({ preferences }: MmdebstrapPlan, directory: string): Promise<string> {
  const host = await hostAptConfiguration();
  if (preferences === "") return host;
  await writeToolFile(directory, "preferences", preferences);
  return `${host}Dir::Etc::Preferences "/tool/preferences";\n`;
}

export function mmdebstrapArguments(plan: MmdebstrapPlan, exists: (path: string) => boolean): string[] {
  const hooks = plan.hooks.map((hook) => join(HOOKS, hook)).filter(exists);
  return [
    "--verbose",
    ...plan.options,
    ...hooks.map((hook) => `--hook-directory=${hook}`),
    // A file, as it may hold a proxy's password; finishTree removes what mmdebstrap makes of it.
    "--aptopt=/tool/apt.conf",
    "--skip=check/empty,chroot/mount",
    `--extract-hook=${EXTRACT_HOOK}`,
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

function requireTools(what: string, image: string | null, { keyrings }: MmdebstrapPlan): void {
  const missing = keyrings.filter((keyring) => !existsSync(keyring));
  const lacking = [...(existsSync(MMDEBSTRAP) ? [] : ["mmdebstrap"]), ...keyringPackages(missing)];
  if (lacking.length > 0)
    throw new BerthError(`${what} needs ${lacking.join(" and ")}, not installed here`, {
      hint: `apt-get install --no-install-recommends ${lacking.join(" ")}${otherWay(image)}`,
    });
  const [keyring] = missing;
  if (keyring !== undefined) throw new BerthError(`${what} needs the keyring ${keyring}, which is not there`);
}
