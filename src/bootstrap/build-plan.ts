import { createHash } from "node:crypto";
import { BerthError } from "../errors.ts";
import type { AddedUser, Network } from "./additions.ts";
import type { Found } from "./find-release.ts";
import type { HostArchives } from "./host-apt.ts";
import type { Lock } from "./lock.ts";
import { type MmdebstrapPlan, planMmdebstrap } from "./mmdebstrap-plan.ts";
import type { Architecture } from "./recipe-text.ts";
import { planRepositoryTool, type ToolPlan } from "./tool-plan.ts";

/** Raise it when what is made of a tool's result changes (finish-tree.ts): older cached trees are not used then. */
const FORMAT = 2;

/** All that decides how a tree comes out, as data. */
export interface BuildPlan {
  readonly recipe: string;
  readonly release: string;
  readonly architecture: Architecture;
  /** How the packages get there. */
  readonly build: MmdebstrapPlan | ToolPlan;
  /** What is put into the tree then, in this order. */
  readonly files: readonly PlannedFile[];
  readonly users: readonly PlannedUser[];
  readonly commands: readonly string[];
  readonly network: Network;
  /** Of these versions and no others; null: of whatever the archive has today. */
  readonly locked: Lock["packages"] | null;
  /** SHA-256 in hex of everything above: trees with the same key are interchangeable, but for their age. */
  readonly key: string;
  /** Where each command is written, for messages. */
  readonly commandPlaces: readonly string[];
  /** What there is on the image server in place of it, for a host that can't build it. */
  readonly image: string | null;
}

export interface PlannedFile {
  readonly source: string;
  readonly path: string;
  readonly mode: number;
  /** SHA-256 of what is in it; null: it can't be read. */
  readonly digest: string | null;
}

export interface PlannedUser extends AddedUser {
  readonly keyDigest: string | null;
}

/** What decides a plan besides the recipe. */
export interface PlanContext {
  readonly archives: HostArchives;
  readonly architecture: Architecture;
  /** SHA-256 by path of the files that the recipe names (file-digests.ts). */
  readonly digests: ReadonlyMap<string, string>;
  /** Asked for on the command line, after the recipe's own. */
  readonly packages?: readonly string[];
  readonly commands?: readonly string[];
  /** In place of the recipe's. */
  readonly mirror?: string | undefined;
  readonly lock?: Lock | undefined;
}

/** @throws BerthError when the recipe is for other architectures */
export function planBuild({ recipe, release }: Found, context: PlanContext): BuildPlan {
  const { architecture, digests, lock } = context;
  if (recipe.architectures.length > 0 && !recipe.architectures.includes(architecture))
    throw new BerthError(
      `${recipe.name} is there for ${recipe.architectures.join(", ")}, and this is ${architecture}`,
      {
        kind: "NotSupported",
      },
    );
  const { additions, version } = release;
  const packages = [...additions.packages, ...(context.packages ?? [])];
  const request = { version, packages, architecture, mirror: context.mirror, locked: lock?.packages ?? null };
  const commands = [...additions.commands, ...(context.commands ?? []).map((text) => ({ text, where: "--run" }))];
  const digestOf = (path: string | undefined): string | null =>
    path === undefined ? null : (digests.get(path) ?? null);
  const plan = {
    recipe: recipe.name,
    release: release.name,
    architecture,
    build:
      release.build.tool === "mmdebstrap"
        ? planMmdebstrap(release.build, request, context.archives)
        : planRepositoryTool(release.build, request),
    files: additions.files.map((file) => ({ ...file, digest: digestOf(file.source) })),
    users: additions.users.map((user) => ({ ...user, keyDigest: digestOf(user.key) })),
    commands: commands.map(({ text }) => text),
    network: additions.network,
    locked: lock?.packages ?? null,
  };
  const key = createHash("sha256")
    .update(JSON.stringify([FORMAT, plan]))
    .digest("hex");
  return { ...plan, key, commandPlaces: commands.map(({ where }) => where), image: release.image };
}
