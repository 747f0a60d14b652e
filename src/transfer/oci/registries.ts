import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "ini";
import { BerthError, errorCode } from "../../errors.ts";
import type { Paths } from "../../host/paths.ts";
import type { Reference } from "./reference.ts";

/** Where a registry is, and who we are to it. */

const FILE = "registries.conf";
/** As podman(1), skopeo(1) and docker(1) keep what `login` is told; ours first. */
const AUTH_FILES = ["/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json"];

/** The server of a registry: its own name by https, on this host itself http, or what registries.conf says. @throws BerthError */
export function serverOf({ registry }: Reference, paths: Paths): URL {
  for (const path of [join(paths.etc, FILE), join(paths.recipes, FILE)]) {
    const section: unknown = sectionsOf(path).get(registry);
    if (section === undefined) continue;
    const address: unknown =
      typeof section === "object" && section !== null ? Reflect.get(section, "server") : undefined;
    const url = typeof address === "string" ? URL.parse(address) : null;
    if (url !== null && /^https?:$/.test(url.protocol)) return url;
    throw new BerthError(`${path}: [${registry}] needs server = https://SERVER`);
  }
  const local = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(registry);
  const url = URL.parse(`${local ? "http" : "https"}://${registry}`);
  if (url !== null) return url;
  throw new BerthError(`${registry} is no address of a server`);
}

/** `user:password`; undefined: nobody in particular. @throws BerthError for a file that can't be read */
export function credentialsFor(reference: Reference, paths: Paths): string | undefined {
  const { registry, repository } = reference;
  // From the whole to the registry alone, as containers-auth.json(5) has it.
  const parts = `${registry}/${repository}`.split("/");
  const keys = parts.map((_, index) => parts.slice(0, parts.length - index).join("/"));
  for (const path of [join(paths.etc, "auth.json"), ...AUTH_FILES]) {
    const auths = authsOf(path);
    for (const key of [...keys, `https://${registry}`, `https://${registry}/v1/`, `https://index.${registry}/v1/`]) {
      const entry: unknown = auths.get(key);
      const auth: unknown = typeof entry === "object" && entry !== null ? Reflect.get(entry, "auth") : undefined;
      const text = typeof auth === "string" ? Buffer.from(auth, "base64").toString("utf8") : "";
      if (text.includes(":")) return text;
    }
  }
  return undefined;
}

function sectionsOf(path: string): ReadonlyMap<string, unknown> {
  // ini(npm) makes nested sections of dots, but for those behind a backslash.
  const text = (textOf(path) ?? "").replace(/^\[([^\]]*)\]/gm, (_, name: string) => `[${name.replaceAll(".", "\\.")}]`);
  return new Map(Object.entries(parse(text)));
}

function authsOf(path: string): ReadonlyMap<string, unknown> {
  const text = textOf(path);
  if (text === undefined) return new Map();
  try {
    const auths: unknown = Reflect.get(JSON.parse(text), "auths");
    return new Map(typeof auths === "object" && auths !== null ? Object.entries(auths) : []);
  } catch (error) {
    throw new BerthError(`${path} is no file of credentials`, {
      cause: error,
      hint: 'JSON: {"auths": {"REGISTRY": {"auth": "..."}}}',
    });
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errorCode(error) ?? "")) return undefined;
    throw error;
  }
}
