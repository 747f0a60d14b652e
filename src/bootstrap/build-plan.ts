import { createHash } from "node:crypto";
import type { Found } from "./find-release.ts";
import type { HostArchives } from "./host-apt.ts";
import type { Source } from "./recipe.ts";

/** Raise it when what is made of mmdebstrap's result changes (finish-tree.ts): older cached trees are not used then. */
const FORMAT = 1;

/** All that decides how a tree comes out, as data. */
export interface BuildPlan {
  readonly recipe: string;
  readonly release: string;
  /** As dpkg calls it: `amd64`. */
  readonly architecture: string;
  /** A file of the host that has to be there. */
  readonly keyring: string;
  readonly hooks: readonly string[];
  /** mmdebstrap(1)'s options, without hooks and host configuration. */
  readonly options: readonly string[];
  readonly suite: string;
  /** sources.list lines; empty: mmdebstrap's built-in ones for the suite. */
  readonly sources: readonly string[];
  /** SHA-256 in hex of everything above: trees with the same key are interchangeable, but for their age. */
  readonly key: string;
}

/** `nodeArch` is process.arch. */
export function planBuild({ recipe, release }: Found, archives: HostArchives, nodeArch: string): BuildPlan {
  const settings = release.mmdebstrap;
  const sources = sourceLines(release.sources, archives, settings.components);
  const include = [
    ...settings.include,
    ...(sources.some((line) => line.includes(" https:")) ? ["ca-certificates"] : []),
  ];
  const plan = {
    recipe: recipe.name,
    release: release.name,
    architecture: DEBIAN_ARCHITECTURES[nodeArch] ?? nodeArch,
    keyring: settings.keyring,
    hooks: settings.hooks,
    options: [
      "--mode=root",
      "--format=directory",
      `--variant=${settings.variant}`,
      `--components=${settings.components}`,
      `--keyring=${settings.keyring}`,
      `--include=${include.join(",")}`,
      ...settings.pathFilters.map((filter) => `--dpkgopt=${filter}`),
    ],
    suite: release.suite,
    sources,
  };
  const key = createHash("sha256")
    .update(JSON.stringify([FORMAT, plan]))
    .digest("hex");
  return { ...plan, key };
}

const DEBIAN_ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** All or nothing: a machine without its security archive would be worse than one with mmdebstrap's own choice. */
function sourceLines(sources: readonly Source[], archives: HostArchives, components: string): string[] {
  const lines = sources.map(({ archive, suite }) => {
    const uri = archives[archive];
    return uri === undefined ? undefined : `deb ${uri} ${suite} ${components.replace(/[\s,]+/g, " ")}`;
  });
  return lines.every((line) => line !== undefined) ? lines : [];
}
