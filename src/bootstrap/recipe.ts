import { basename } from "node:path";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { ADDITION_KEYS, type Additions, addedUp, readAdditions } from "./additions.ts";
import {
  type Architecture,
  checkSection,
  type Keys,
  overlaid,
  type PlacedText,
  type Sections,
  type Values,
} from "./recipe-text.ts";

/** One distribution: a file of bootstrap/. Its format is described in bootstrap/README.md. */
export interface Recipe {
  /** File name without `.ini`. */
  readonly name: string;
  readonly title: string;
  readonly defaultRelease: string;
  /** Empty: every architecture. */
  readonly architectures: readonly string[];
  /** In the order of the file. */
  readonly releases: readonly Release[];
}

export interface Release {
  readonly name: string;
  readonly title: string;
  readonly aliases: readonly string[];
  /** What the archive calls it. */
  readonly version: string;
  /** Its name on the image server that berth knows by itself; null: the recipe names none. */
  readonly image: string | null;
  /** The recipe's sections with this release's own values applied. */
  readonly build: ToolSettings;
  readonly additions: Additions;
}

export type ToolSettings = MmdebstrapSettings | RepositorySettings;

export interface MmdebstrapSettings {
  readonly tool: "mmdebstrap";
  readonly variant: string;
  readonly components: string;
  readonly keyrings: readonly string[];
  /** The archive's address, where the host's apt has none of its own for this distribution. */
  readonly mirror: string | undefined;
  readonly sources: readonly Source[];
  /** `path-exclude=GLOB` and `path-include=GLOB` in the order dpkg(1) applies them: the last that matches wins. */
  readonly pathFilters: readonly string[];
  readonly hooks: readonly string[];
}

/** Of a tool that works on repositories with addresses. */
export interface RepositorySettings {
  readonly tool: RepositoryTool;
  /** Files of the host, or directories with several keys, as the tool wants them. */
  readonly keyrings: readonly string[];
  readonly mirror: string | undefined;
  readonly repositories: readonly Repository[];
  /** Of the distribution's own rpm: where its database is in the tree, and of what kind. */
  readonly database: string | undefined;
  readonly databaseBackend: string | undefined;
}

export interface Repository {
  readonly name: string;
  /** With `$mirror`, `$version` and `$arch` in it. */
  readonly address: string;
}

export interface Source {
  readonly archive: Archive;
  readonly suite: string;
}

/** The last one: at the recipe's `mirror`. */
export const ARCHIVES = ["debian", "debian-security", "mirror"] as const;
export type Archive = (typeof ARCHIVES)[number];

const REPOSITORY_TOOLS = ["dnf", "zypper", "pacman", "apk", "xbps"] as const;
export type RepositoryTool = (typeof REPOSITORY_TOOLS)[number];
export type ToolName = "mmdebstrap" | RepositoryTool;
const TOOLS: readonly ToolName[] = ["mmdebstrap", ...REPOSITORY_TOOLS];

const RECIPE_KEYS: Keys = {
  title: "text",
  "default-release": "text",
  extends: "text",
  image: "text",
  architecture: "list",
};
const MMDEBSTRAP_KEYS: Keys = {
  variant: "text",
  components: "text",
  keyring: "list",
  mirror: "text",
  "path-exclude": "list",
  "path-include": "list",
  hook: "list",
};
const REPOSITORY_KEYS: Keys = { keyring: "list", mirror: "text", repository: "list" };
const RPM_KEYS: Keys = { ...REPOSITORY_KEYS, database: "text", "database-backend": "text" };

/** What the section of each tool may hold. */
const TOOL_KEYS: Readonly<Record<ToolName, Keys>> = {
  mmdebstrap: MMDEBSTRAP_KEYS,
  dnf: RPM_KEYS,
  zypper: RPM_KEYS,
  pacman: REPOSITORY_KEYS,
  apk: REPOSITORY_KEYS,
  xbps: REPOSITORY_KEYS,
};
const RELEASE_KEYS: Keys = { title: "text", alias: "list", image: "text", ...ADDITION_KEYS };
const MMDEBSTRAP_RELEASE: Keys = { ...RELEASE_KEYS, suite: "text", source: "list", ...MMDEBSTRAP_KEYS };

/** `path` is for the recipe's name and for messages. @throws BerthError that names the place, section and key */
export function makeRecipe(sections: Sections, path: string, architecture: Architecture): Recipe {
  const releaseNames = [...sections.keys()].flatMap((name) => /^release ([a-z0-9][a-z0-9.-]*)$/.exec(name)?.[1] ?? []);
  const read = (section: string, keys: Keys): Values =>
    checkSection(section, sections.get(section), keys, architecture);
  if (!sections.has("recipe")) throw new BerthError(`${path}: [recipe] is missing`);
  const tool = toolOf(sections, path);
  for (const [name, { at }] of sections) {
    if (["recipe", "tree", tool].includes(name) || releaseNames.includes(name.slice("release ".length))) continue;
    throw new BerthError(`${at}: unknown section [${name}]`, {
      hint: `a recipe has [recipe], [${tool}], [tree] and one [release NAME] a release`,
    });
  }
  const recipe = read("recipe", RECIPE_KEYS);
  const common = read(tool, TOOL_KEYS[tool]);
  const tree = readAdditions(read("tree", ADDITION_KEYS));
  const releaseKeys =
    tool === "mmdebstrap" ? MMDEBSTRAP_RELEASE : { ...RELEASE_KEYS, version: "text" as const, ...TOOL_KEYS[tool] };
  const releases = releaseNames.map((name): Release => {
    const own = read(`release ${name}`, releaseKeys);
    const version = tool === "mmdebstrap" ? "suite" : "version";
    return {
      name,
      title: own.text("title"),
      aliases: own.list("alias"),
      version: own.has(version) ? own.text(version) : name,
      image: imageOf([...recipe.placed("image"), ...own.placed("image")], name),
      build: settingsOf(tool, overlaid(common, own)),
      additions: addedUp(tree, readAdditions(own)),
    };
  });
  const defaultRelease = recipe.text("default-release");
  if (!releaseNames.includes(defaultRelease)) {
    throw new BerthError(
      `${recipe.placed("default-release")[0]?.where}: ${quote(defaultRelease)} has no [release ${defaultRelease}] section`,
    );
  }
  return {
    name: basename(path, ".ini"),
    title: recipe.text("title"),
    defaultRelease,
    architectures: recipe.list("architecture"),
    releases,
  };
}

function toolOf(sections: Sections, path: string): ToolName {
  const [tool, another] = TOOLS.filter((name) => sections.has(name));
  if (tool !== undefined && another === undefined) return tool;
  const fault = tool === undefined ? "no section says what builds it" : `both [${tool}] and [${another}] build it`;
  throw new BerthError(`${sections.get(another ?? "")?.at ?? path}: ${fault}`, {
    hint: `a recipe has one of ${TOOLS.map((name) => `[${name}]`).join(", ")}`,
  });
}

function settingsOf(tool: ToolName, values: Values): ToolSettings {
  const text = (key: string): string | undefined => (values.has(key) ? values.text(key) : undefined);
  const keyrings = values.list("keyring");
  const mirror = text("mirror");
  if (tool !== "mmdebstrap")
    return {
      tool,
      keyrings,
      mirror,
      repositories: values.placed("repository").map(parseRepository),
      database: text("database"),
      databaseBackend: text("database-backend"),
    };
  return {
    tool,
    keyrings,
    mirror,
    variant: values.text("variant"),
    components: values.text("components"),
    sources: values.placed("source").map(parseSource),
    // ini(npm) keeps the order within one key only: excludes come first, so that an include can take a part back.
    pathFilters: ["path-exclude", "path-include"].flatMap((key) => values.list(key).map((glob) => `${key}=${glob}`)),
    hooks: values.list("hook"),
  };
}

/** A release's own comes last. */
function imageOf(written: readonly PlacedText[], release: string): string | null {
  return written.map((one) => parseImage(one, release)).at(-1) ?? null;
}

/** One that pull takes as it stands, and a shell too. */
const IMAGE = /^[a-z0-9][a-z0-9.-]{0,49}\/[A-Za-z0-9][A-Za-z0-9.+_-]{0,49}$/;

function parseImage({ text, where }: PlacedText, release: string): string {
  const image = text.replace(/\$release\b/g, release);
  if (IMAGE.test(image)) return image;
  throw new BerthError(`${where}: ${quote(text)} is not DISTRIBUTION/RELEASE`, {
    hint: "as on images.linuxcontainers.org; $release stands for the release's name: centos/$release-Stream",
  });
}

function parseSource({ text: line, where }: PlacedText): Source {
  const [name, suite, more] = line.split(/\s+/);
  const archive = ARCHIVES.find((known) => known === name);
  if (archive === undefined || suite === undefined || more !== undefined) {
    throw new BerthError(`${where}: ${quote(line)} is not ARCHIVE SUITE`, {
      hint: `known archives: ${ARCHIVES.join(", ")}`,
    });
  }
  return { archive, suite };
}

function parseRepository({ text: line, where }: PlacedText): Repository {
  const [name = "", address = "", more] = line.split(/\s+/);
  if (/^[a-z0-9][a-z0-9-]*$/.test(name) && address !== "" && more === undefined) return { name, address };
  throw new BerthError(`${where}: ${quote(line)} is not NAME ADDRESS`, {
    hint: "in ADDRESS, $mirror, $version and $arch stand for what they say",
  });
}
