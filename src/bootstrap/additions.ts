import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import type { Keys, PlacedText, Values } from "./recipe-text.ts";

/** What a recipe wants in the tree besides what the distribution's packages put there by themselves. */
export interface Additions {
  readonly packages: readonly string[];
  readonly files: readonly AddedFile[];
  readonly users: readonly AddedUser[];
  /** For /bin/sh of the tree, in the order they are run. */
  readonly commands: readonly PlacedText[];
  /** What of the network the commands have. */
  readonly network: Network;
}

/** None, as a machine has by default, or the host's. */
export type Network = "none" | "host";

export interface AddedFile {
  /** On the host, absolute. */
  readonly source: string;
  /** In the tree, absolute. */
  readonly path: string;
  readonly mode: number;
}

export interface AddedUser {
  readonly name: string;
  /** Undefined: the first from 1000 on that nobody has. */
  readonly uid: number | undefined;
  /** Besides one of its own. */
  readonly groups: readonly string[];
  readonly shell: string;
  /** A file of the host with public keys, for ~/.ssh/authorized_keys. */
  readonly key: string | undefined;
}

export const ADDITION_KEYS: Keys = { package: "list", file: "list", user: "list", run: "list", network: "text" };

/** What a package is called in any of the distributions, with a version in front of or behind it: no option, no path. */
const PACKAGE = /^[A-Za-z0-9@][A-Za-z0-9@._+:~^=<>-]*$/;
const USER_NAME = /^[a-z_][a-z0-9_-]{0,30}$/;
const MODE = /^0?[0-7]{3,4}$/;
const UID_MAX = 65_533;

/** @throws BerthError that says where */
export function readAdditions(values: Values): Additions {
  return {
    packages: values.placed("package").map(({ text, where }) => requirePackage(text, where)),
    files: values.placed("file").map(parseFile),
    users: values.placed("user").map(parseUser),
    commands: values.placed("run"),
    network: values.placed("network").map(requireNetwork)[0] ?? "none",
  };
}

export function addedUp(common: Additions, own: Additions): Additions {
  return {
    packages: [...common.packages, ...own.packages],
    files: [...common.files, ...own.files],
    users: [...common.users, ...own.users],
    commands: [...common.commands, ...own.commands],
    network: own.network === "host" ? "host" : common.network,
  };
}

export function requirePackage(name: string, where: string): string {
  if (PACKAGE.test(name)) return name;
  throw new BerthError(`${where}: ${quote(name)} is no package's name`, { exitStatus: 2 });
}

function requireNetwork({ text: value, where }: PlacedText): Network {
  if (value === "none" || value === "host") return value;
  throw new BerthError(`${where}: ${quote(value)} is not none or host`);
}

/** `SOURCE PATH [MODE]` */
function parseFile({ text: line, where }: PlacedText): AddedFile {
  const [source = "", path = "", mode = "0644", more] = line.split(/\s+/);
  const isPath = path.startsWith("/") && !path.endsWith("/") && !path.split("/").includes("..");
  if (!isPath || !MODE.test(mode) || more !== undefined)
    throw new BerthError(`${where}: ${quote(line)} is not SOURCE PATH [MODE]`, {
      hint: "PATH is absolute, in the tree; MODE is octal, 0644 where there is none",
    });
  return { source, path, mode: Number.parseInt(mode, 8) };
}

/** `NAME [uid=N] [groups=A,B] [shell=PATH] [key=FILE]` */
function parseUser({ text: line, where }: PlacedText): AddedUser {
  const [name = "", ...words] = line.split(/\s+/);
  const fault = (what: string): BerthError =>
    new BerthError(`${where}: ${what}`, { hint: "NAME [uid=N] [groups=A,B] [shell=PATH] [key=FILE]" });
  if (!USER_NAME.test(name)) throw fault(`${quote(name)} is no user's name`);
  const fields = new Map<string, string>();
  for (const word of words) {
    const [, key = "", value = ""] = /^(uid|groups|shell|key)=(.+)$/.exec(word) ?? [];
    if (key === "" || fields.has(key)) throw fault(`${quote(word)} is not known there, or twice`);
    fields.set(key, value);
  }
  const uid = fields.get("uid");
  if (uid !== undefined && !(/^\d{1,5}$/.test(uid) && Number(uid) > 0 && Number(uid) <= UID_MAX))
    throw fault(`uid=${uid} is not one of 1 to ${UID_MAX}`);
  const groups = fields.get("groups")?.split(",") ?? [];
  const wrong = groups.find((group) => !USER_NAME.test(group));
  if (wrong !== undefined) throw fault(`${quote(wrong)} is no group's name`);
  const shell = fields.get("shell") ?? "/bin/sh";
  if (!/^\/[^:\s]+$/.test(shell)) throw fault(`shell=${shell} is no absolute path`);
  return { name, uid: uid === undefined ? undefined : Number(uid), groups, shell, key: fields.get("key") };
}
