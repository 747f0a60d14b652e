import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "ini";
import { BerthError, errorCode, UsageError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { requireUrl } from "./url.ts";

/** A server of images that has a name: in remotes.conf beside the recipes, which comes with berth, or in that of the settings. */
export interface Remote {
  readonly name: string;
  readonly url: URL;
  /** It is in a file that comes with berth. */
  readonly builtIn: boolean;
}

const FILE = "remotes.conf";
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** By name; those of the settings hide berth's own. @throws BerthError that names file and section */
export function readRemotes(paths: Paths): readonly Remote[] {
  const all = new Map([...readFile(builtInFile(paths), true), ...readFile(ownFile(paths), false)]);
  return [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @throws BerthError */
export function findRemote(paths: Paths, name: string): Remote {
  const remotes = readRemotes(paths);
  const found = remotes.find((remote) => remote.name === name);
  if (found !== undefined) return found;
  throw new BerthError(`no remote ${quote(name)}`, {
    hint:
      suggest(
        name,
        remotes.map((remote) => remote.name),
      ) ?? "berth remote list shows them, berth remote add NAME URL adds one",
  });
}

export function addRemote(paths: Paths, name: string, address: string): void {
  if (!NAME.test(name)) throw new UsageError(`${quote(name)} is no name for a remote`, "letters, digits, - and _");
  const url = requireUrl(address);
  if (url.username !== "" || url.search !== "" || url.hash !== "")
    throw new UsageError(`${quote(address)} is no address of a server`, "https://SERVER or https://SERVER/PATH");
  const own = readFile(ownFile(paths), false);
  if (own.has(name)) throw new BerthError(`remote ${name} exists already`, { hint: `berth remote remove ${name}` });
  write(paths, [...own.values(), { name, url, builtIn: false }]);
}

export function removeRemote(paths: Paths, name: string): void {
  const { builtIn } = findRemote(paths, name);
  if (builtIn)
    throw new BerthError(`remote ${name} comes with berth`, {
      hint: "another one that is added by this name stands for it",
    });
  write(
    paths,
    [...readFile(ownFile(paths), false).values()].filter((remote) => remote.name !== name),
  );
}

function builtInFile({ recipes }: Paths): string {
  return join(recipes, FILE);
}

function ownFile({ etc }: Paths): string {
  return join(etc, FILE);
}

function write(paths: Paths, remotes: readonly Remote[]): void {
  const path = ownFile(paths);
  mkdirSync(paths.etc, { recursive: true });
  const sections = Object.fromEntries(
    remotes.map(({ name, url }) => [name, { url: url.href, protocol: "simplestreams" }]),
  );
  const text = `; Servers of images: berth remote, berth pull NAME:IMAGE.\n${stringify(sections)}`;
  writeFileSync(`${path}.new`, text, { mode: 0o644, flush: true });
  renameSync(`${path}.new`, path);
}

function readFile(path: string, builtIn: boolean): ReadonlyMap<string, Remote> {
  return new Map(
    Object.entries(parse(textOf(path))).map(([name, section]) => {
      const value = (key: string): unknown =>
        typeof section === "object" && section !== null ? Reflect.get(section, key) : undefined;
      const [address, protocol = "simplestreams"] = [value("url"), value("protocol")];
      const url = typeof address === "string" ? URL.parse(address) : null;
      if (!NAME.test(name) || url === null || !/^https?:$/.test(url.protocol))
        throw new BerthError(`${path}: [${name}] needs url = https://SERVER`);
      if (protocol !== "simplestreams")
        throw new BerthError(`${path}: [${name}] protocol: ${quote(String(protocol))} is not known`, {
          hint: "simplestreams; images of OCI registries are for berth pull-oci",
        });
      return [name, { name, url, builtIn }];
    }),
  );
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}
