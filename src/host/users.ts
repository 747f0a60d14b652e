import { errorCode } from "../errors.ts";
import type { UserFacts, UserSearch } from "../plan/facts.ts";
import { InRoot, type TreeRoot } from "./in-root.ts";

/** Of passwd and group: room for some ten thousand users, and no more than a moment's work for a tree that is a trap. */
const MAX_TEXT = 1024 * 1024;

/**
 * Looks a user up in /etc/passwd and /etc/group of trees that are not trusted: as text, nothing of them is loaded or
 * run. `roots` are laid over each other, the first one that has a file counts (an ephemeral machine's changes, its tree).
 * A number needs no entry; who has none is in the group of that number and at home in `/`.
 *
 * `ownMount`: without what is mounted below them.
 * @throws the errno error when there is no directory at one of `roots`; BerthError never
 */
export function findUser(user: string, roots: readonly TreeRoot[], ownMount = false): UserSearch {
  const passwd = readFirst("/etc/passwd", roots, ownMount);
  const users = parsePasswd(passwd ?? "");
  const number = /^[0-9]+$/.test(user) ? Number(user) : null;
  const entry = users.find(({ name, uid }) => (number === null ? name === user : uid === number));
  if (entry === undefined)
    return number === null
      ? {
          missing: passwd === null ? "has no /etc/passwd that could be read" : `has no user ${user}`,
          known: known(users),
        }
      : { name: user, uid: number, gid: number, groups: [number], home: "/", shell: "/bin/sh" };
  const groups = parseGroups(readFirst("/etc/group", roots, ownMount) ?? "", entry.name);
  return { ...entry, groups: [...new Set([entry.gid, ...groups])] };
}

/** The same for a plan without root: a name is assumed to be Debian's first user where the tree may not be looked into. */
export function assumeUser(user: string, roots: readonly TreeRoot[]): UserSearch {
  try {
    return findUser(user, roots);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "EACCES" && code !== "EPERM") throw error;
    return { name: user, uid: 1000, gid: 1000, groups: [1000], home: `/home/${user}`, shell: "/bin/bash" };
  }
}

/** Text of a tree, of the first of `roots` that has the file. Null: none has. @throws as findUser */
export function readFirst(path: string, roots: readonly TreeRoot[], ownMount = false): string | null {
  for (const root of roots) {
    const tree = new InRoot(root, { ownMount });
    try {
      const text = tree.readFile(path, MAX_TEXT)?.toString("utf8");
      if (text !== undefined) return text;
    } finally {
      tree.close();
    }
  }
  return null;
}

type PasswdEntry = Omit<UserFacts, "groups">;

/** passwd(5). Lines that are none, and those with characters that no path has, are passed over. */
export function parsePasswd(text: string): readonly PasswdEntry[] {
  return lines(text).flatMap((line) => {
    const [name = "", , uid, gid, , home = "", shell = ""] = line.split(":");
    const ids = [id(uid), id(gid)] as const;
    if (name === "" || ids[0] === undefined || ids[1] === undefined) return [];
    const path = (value: string, otherwise: string): string => (value.startsWith("/") ? value : otherwise);
    return [{ name, uid: ids[0], gid: ids[1], home: path(home, "/"), shell: path(shell, "/bin/sh") }];
  });
}

/** The groups of group(5) that a user is listed in. */
export function parseGroups(text: string, user: string): readonly number[] {
  return lines(text).flatMap((line) => {
    const [, , gid, members = ""] = line.split(":");
    const number = id(gid);
    return number !== undefined && members.split(",").includes(user) ? [number] : [];
  });
}

function lines(text: string): readonly string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.split("\n").filter((line) => !/[\u0000-\u001f]/.test(line));
}

/** (uid_t) -1 is no id. */
function id(text: string | undefined): number | undefined {
  const number = text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return number < 0xffff_ffff ? number : undefined;
}

/** People before services: what somebody most likely meant comes first. */
function known(users: readonly PasswdEntry[]): readonly string[] {
  const isPerson = ({ uid }: PasswdEntry): boolean => uid >= 1000 && uid < 65534;
  return users.toSorted((a, b) => Number(isPerson(b)) - Number(isPerson(a))).map(({ name }) => name);
}
