import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Archive } from "./recipe.ts";

/** Base addresses of Debian's archives as this host's apt has them; only those it has. */
export type HostArchives = Readonly<Partial<Record<Archive, string>>>;

/** One entry of apt's sources, sources.list(5), in either format. */
export interface AptSource {
  readonly uris: readonly string[];
  readonly components: readonly string[];
  /** As written; undefined where the entry trusts apt's common keyrings. */
  readonly signedBy: string | undefined;
}

/**
 * Reads the sources itself: `apt-get indextargets` knows the same, but takes half a second to say it, which a bootstrap
 * from the cache does not have.
 */
export async function findHostArchives(aptDirectory = "/etc/apt"): Promise<HostArchives> {
  const directory = join(aptDirectory, "sources.list.d");
  const parts = (await readdir(directory).catch(() => [])).sort().map((file) => join(directory, file));
  const sources = await Promise.all(
    [join(aptDirectory, "sources.list"), ...parts].map(async (file) => {
      const text = await readFile(file, "utf8").catch(() => "");
      if (file.endsWith(".sources")) return parseDeb822Sources(text);
      return file.endsWith(".list") ? parseOneLineSources(text) : [];
    }),
  );
  return pickArchives(sources.flat());
}

/** The first entry of each archive counts, as it does for apt. */
export function pickArchives(sources: readonly AptSource[]): HostArchives {
  const found: Partial<Record<Archive, string>> = {};
  for (const source of sources.filter(isSignedByDebian)) {
    for (const uri of source.uris) {
      const archive = archiveOf(uri);
      if (archive !== undefined) found[archive] ??= uri.replace(/\/+$/, "");
    }
  }
  return found;
}

/** Other people's archives have a key of their own; a wrong guess would only fail the signature check later. */
function isSignedByDebian(source: AptSource): boolean {
  if (!source.components.includes("main")) return false;
  return source.signedBy === undefined || source.signedBy.includes("debian-archive-");
}

/**
 * By the last part of its path, the same on every mirror. Not taken: what a machine could not reach itself (file:,
 * cdrom:), and addresses with a password in them, which would end up in every machine.
 */
function archiveOf(uri: string): Archive | undefined {
  const match = /^https?:\/\/[^/@\s]+(?:\/[^/@\s]+)*\/(debian|debian-security)\/*$/.exec(uri);
  return match?.[1] === "debian" || match?.[1] === "debian-security" ? match[1] : undefined;
}

/** `deb [signed-by=X] URI SUITE COMPONENT...`, one a line. */
export function parseOneLineSources(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+\S+((?:\s+[^\s#]+)*)/.exec(line);
    if (match === null) return [];
    const [, options = "", uri = "", components = ""] = match;
    return [{ uris: [uri], components: words(components), signedBy: /(?:^|\s)signed-by=(\S+)/.exec(options)?.[1] }];
  });
}

/** Paragraphs of `Field: value`, continued by indented lines; `#` lines are comments. */
export function parseDeb822Sources(text: string): AptSource[] {
  const lines = text.replace(/^#.*\n?/gm, "");
  return lines.split(/\n\s*\n/).flatMap((paragraph) => {
    const unfolded = paragraph.replace(/\n[ \t]+/g, " ");
    const fields = new Map<string, string>();
    for (const [, name = "", value = ""] of unfolded.matchAll(/^([A-Za-z-]+):[ \t]*(.*)$/gm)) {
      fields.set(name.toLowerCase(), value.trim());
    }
    const enabled = !/^(no|false|off|0)$/i.test(fields.get("enabled") ?? "");
    if (!enabled || !words(fields.get("types")).includes("deb")) return [];
    const [uris, components] = [words(fields.get("uris")), words(fields.get("components"))];
    return [{ uris, components, signedBy: fields.get("signed-by") }];
  });
}

function words(text = ""): string[] {
  return text.split(/\s+/).filter(Boolean);
}

/**
 * How this host's apt reaches its archives, which holds for a bootstrap on it too: apt.conf(5). mmdebstrap reads none
 * of the host's configuration by itself.
 */
const REACH = [
  "Acquire::http::Proxy",
  "Acquire::Retries",
  "Acquire::http::Timeout",
  "Acquire::Check-Valid-Until",
  "Acquire::Check-Date",
];

/** Lines of an apt.conf, `""` where nothing is set or apt is not there. Takes about 10 ms. */
export async function hostAptConfiguration(): Promise<string> {
  const dump = await new Promise<string>((resolve) => {
    execFile("apt-config", ["dump", "--no-empty", ...REACH], (error, stdout) => resolve(error ? "" : stdout));
  });
  return dump
    .split("\n")
    .filter((line) => REACH.some((name) => line.startsWith(`${name} "`)))
    .map((line) => `${line}\n`)
    .join("");
}
