import type { HostArchives } from "./host-apt.ts";
import type { MmdebstrapSettings } from "./recipe.ts";
import type { Architecture } from "./recipe-text.ts";
import type { ToolRequest } from "./tool-request.ts";

/** What mmdebstrap(1) is told, without what is of this host alone. */
export interface MmdebstrapPlan {
  readonly tool: "mmdebstrap";
  /** As dpkg calls it: `amd64`. */
  readonly architecture: string;
  /** Files of the host that have to be there. */
  readonly keyrings: readonly string[];
  readonly hooks: readonly string[];
  /** mmdebstrap(1)'s options, without hooks and host configuration. */
  readonly options: readonly string[];
  readonly suite: string;
  /** sources.list lines; empty: mmdebstrap's built-in ones for the suite. */
  readonly sources: readonly string[];
  /** apt_preferences(5); empty: whatever the archive has. */
  readonly preferences: string;
}

const DEBIAN_ARCHITECTURES: Readonly<Record<Architecture, string>> = { x86_64: "amd64", aarch64: "arm64" };

export function planMmdebstrap(
  settings: MmdebstrapSettings,
  request: ToolRequest,
  hostArchives: HostArchives,
): MmdebstrapPlan {
  const mirror = request.mirror ?? settings.mirror;
  const archives = {
    ...hostArchives,
    ...(mirror === undefined ? {} : { mirror }),
    ...(request.mirror === undefined ? {} : { debian: request.mirror }),
  };
  const sources = sourceLines(settings, archives);
  const include = [
    ...(request.locked === null
      ? request.packages
      : Object.keys(request.locked).map((name) => name.replace(/:.*/, ""))),
    ...(request.locked === null && sources.some((line) => line.includes(" https:")) ? ["ca-certificates"] : []),
  ];
  return {
    tool: "mmdebstrap",
    architecture: DEBIAN_ARCHITECTURES[request.architecture],
    keyrings: settings.keyrings,
    hooks: settings.hooks,
    options: [
      "--mode=root",
      "--format=directory",
      `--variant=${settings.variant}`,
      `--components=${settings.components}`,
      ...settings.keyrings.map((keyring) => `--keyring=${keyring}`),
      `--include=${include.join(",")}`,
      ...settings.pathFilters.map((filter) => `--dpkgopt=${filter}`),
    ],
    suite: request.version,
    sources,
    preferences: request.locked === null ? "" : pins(request.locked),
  };
}

/** All or nothing: a machine without its security archive would be worse than one with mmdebstrap's own choice. */
function sourceLines({ sources, components }: MmdebstrapSettings, archives: HostArchives): string[] {
  const lines = sources.map(({ archive, suite }) => {
    const uri = archives[archive];
    return uri === undefined ? undefined : `deb ${uri} ${suite} ${components.replace(/[\s,]+/g, " ")}`;
  });
  return lines.every((line) => line !== undefined) ? lines : [];
}

/** Above 1000 apt takes a version whatever else there is; below 0 never. */
function pins(packages: NonNullable<ToolRequest["locked"]>): string {
  const pinned = Object.entries(packages).map(([name, { version }]) => {
    // `libc6:amd64` and `adduser:all`: what is of no architecture is pinned by its name.
    const pattern = name.replace(/:all$/, "");
    return `Package: ${pattern}\nPin: version ${version}\nPin-Priority: 1001\n`;
  });
  return [...pinned, "Package: *\nPin: release *\nPin-Priority: -1\n"].join("\n");
}
