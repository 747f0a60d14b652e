import type { Packages } from "./lock.ts";
import type { RepositorySettings, RepositoryTool } from "./recipe.ts";
import type { StageName } from "./stage.ts";
import type { ToolRequest } from "./tool-request.ts";

/**
 * What a tool is to do, as data. Its paths are those of the view that it runs in (confine-tool.ts): /tree is the tree,
 * /tool what belongs to this run alone, with `files` and, in keys/, the keyrings.
 */
export interface ToolPlan {
  readonly tool: RepositoryTool;
  /** Files and directories of the host that have to be there. */
  readonly keyrings: readonly string[];
  /** By path below /tool. */
  readonly files: Readonly<Record<string, string>>;
  readonly commands: readonly ToolCommand[];
  /** By path in the tree: so that the machine's own package manager knows where its packages are. */
  readonly treeFiles: Readonly<Record<string, string>>;
  /** Says what is installed, in lines that the tool's `parsePackages` reads. */
  readonly inventory: readonly string[];
  /** `NAME ADDRESS` */
  readonly sources: readonly string[];
}

export interface ToolCommand {
  readonly stage: StageName;
  readonly argv: readonly string[];
  /**
   * `fetch` has the host's network and runs nothing that was fetched; `install` runs the packages' scripts, without any
   * network, and with /dev and /proc in the tree.
   */
  readonly may: "fetch" | "install";
}

/** A program of the host. */
export interface Program {
  readonly name: string;
  /** The package that has it in Debian; null: none. */
  readonly debian: string | null;
}

/** One package manager: how it is told what to do, and what it says. */
export interface PackageTool {
  readonly programs: readonly Program[];
  plan(
    settings: RepositorySettings,
    request: ToolRequest,
  ): Omit<ToolPlan, "tool" | "keyrings" | "sources" | "treeFiles"> & Partial<Pick<ToolPlan, "treeFiles">>;
  /** Lines that tell how far it is, with groups `item`, and `done` and `total` where it counts. */
  readonly steps: readonly RegExp[];
  /** What the output says, and what to do about it. The first that is found counts. */
  readonly causes: readonly (readonly [RegExp, string])[];
  /** The line that says what went wrong. */
  readonly complaint: RegExp;
  parsePackages(lines: readonly string[]): Packages;
}

/** Where the keyring at `path` of the host is in the view. */
export function keyPath(path: string): string {
  return `/tool/keys/${path.split("/").at(-1)}`;
}

/** `NAME VERSION [DIGEST]`, one a line; what else is said is passed over. */
export function parseNameVersion(lines: readonly string[]): Packages {
  const found = lines.flatMap((line) => {
    const [, name, version, digest] = /^(\S+) (\S+)(?: ([0-9a-f]{32,}))?$/.exec(line) ?? [];
    return name === undefined || version === undefined ? [] : [[name, { version, digest: digest ?? null }] as const];
  });
  return Object.fromEntries(found);
}

/** What every tool says of a network or a disk. */
export const COMMON_CAUSES: readonly (readonly [RegExp, string])[] = [
  [/No space left on device/i, "the disk is full: make room and try again"],
  [
    /could(?:n't| not) resolve|temporary failure in name resolution|could(?:n't| not) connect|failed to connect|connection (?:timed out|refused)|network is unreachable/i,
    "the mirror cannot be reached: see that the network is there, or choose another with --mirror",
  ],
  [/\b404\b|not found on (?:all|the) mirrors?/i, "the mirror does not have that: choose another with --mirror"],
];
