import { BerthError } from "../errors.ts";
import { readFirst } from "../host/users.ts";
import type { AddedUser } from "./additions.ts";
import type { TreeEntry } from "./put-in-tree.ts";

/** The files that say who there is, as text; null: the tree has no such file. */
export interface UserFiles {
  readonly passwd: string | null;
  readonly group: string | null;
  readonly shadow: string | null;
  readonly gshadow: string | null;
}

const FIRST_UID = 1000;
const LAST_UID = 59_999;

export function readUserFiles(tree: string): UserFiles {
  const read = (name: string): string | null => readFirst(`/etc/${name}`, [tree]);
  return { passwd: read("passwd"), group: read("group"), shadow: read("shadow"), gshadow: read("gshadow") };
}

/**
 * What makes `users` known to a tree: each with a group of its own, a home, and no password. `keys` by the file named.
 * Of text, as no two distributions have the same tool for it. @throws BerthError for a name, uid or group that can't be
 */
export function addUsers(
  before: UserFiles,
  users: readonly AddedUser[],
  keys: ReadonlyMap<string, Buffer>,
): TreeEntry[] {
  if (users.length === 0) return [];
  let files = before;
  const homes: TreeEntry[] = [];
  for (const user of users) {
    const uid = user.uid ?? freeId(files);
    files = withUser(files, user, uid);
    const gid = Number(lines(files.passwd).at(-1)?.split(":")[3]);
    homes.push(...homeOf(user, { uid, gid }, keys));
  }
  const file = (name: keyof UserFiles, mode: number): TreeEntry[] => {
    const content = files[name];
    return content === null ? [] : [{ path: `/etc/${name}`, content, mode, uid: 0, gid: shadowGroup(files, name) }];
  };
  return [
    ...file("passwd", 0o644),
    ...file("group", 0o644),
    ...file("shadow", 0o640),
    ...file("gshadow", 0o640),
    ...homes,
  ];
}

function withUser(files: UserFiles, { name, groups, shell }: AddedUser, uid: number): UserFiles {
  if (names(files.passwd).includes(name)) throw new BerthError(`user ${name}: the tree has one of that name already`);
  if (ids(files.passwd).includes(uid)) throw new BerthError(`user ${name}: uid ${uid} is another user's in the tree`);
  const unknown = groups.find((group) => !names(files.group).includes(group));
  if (unknown !== undefined)
    throw new BerthError(`user ${name}: the tree has no group ${unknown}`, {
      hint: `it has ${names(files.group).slice(0, 40).join(", ")}`,
    });
  // The group of that name may be there, or its number taken: then the next one does.
  const own = lines(files.group)
    .find((line) => line.startsWith(`${name}:`))
    ?.split(":")[2];
  const gid = own ?? String(ids(files.group).includes(uid) ? freeId(files) : uid);
  const joined = (text: string | null, line: string): string | null =>
    text === null ? null : appended(join(text, name, groups), names(text).includes(name) ? null : line);
  return {
    passwd: appended(files.passwd ?? "", `${name}:x:${uid}:${gid}:${name}:/home/${name}:${shell}`),
    group: joined(files.group ?? "", `${name}:x:${gid}:`),
    // No password opens it, a key does: sshd(8) takes `!` for a locked account.
    shadow: files.shadow === null ? null : appended(files.shadow, `${name}:*::0:99999:7:::`),
    gshadow: joined(files.gshadow, `${name}:!::`),
  };
}

function homeOf(
  { name, key }: AddedUser,
  own: Pick<TreeEntry, "uid" | "gid">,
  keys: ReadonlyMap<string, Buffer>,
): TreeEntry[] {
  const home = `/home/${name}`;
  const content = key === undefined ? undefined : keys.get(key);
  return [
    { path: home, content: null, mode: 0o700, ...own, skeleton: true },
    ...(content === undefined
      ? []
      : [
          { path: `${home}/.ssh`, content: null, mode: 0o700, ...own },
          { path: `${home}/.ssh/authorized_keys`, content, mode: 0o600, ...own },
        ]),
  ];
}

/** Members are the last field, of group(5) as of gshadow(5). */
function join(text: string, user: string, groups: readonly string[]): string {
  const changed = lines(text).map((line) => {
    const [group = ""] = line.split(":");
    if (!groups.includes(group)) return line;
    return line.endsWith(":") ? `${line}${user}` : `${line},${user}`;
  });
  return changed.map((line) => `${line}\n`).join("");
}

function appended(text: string, line: string | null): string {
  const whole = text === "" || text.endsWith("\n") ? text : `${text}\n`;
  return line === null ? whole : `${whole}${line}\n`;
}

function freeId({ passwd, group }: UserFiles): number {
  const taken = new Set([...ids(passwd), ...ids(group)]);
  for (let id = FIRST_UID; id <= LAST_UID; id++) if (!taken.has(id)) return id;
  throw new BerthError("the tree has no uid left");
}

/** Debian's shadow files can be read by a group of that name. */
function shadowGroup({ group }: UserFiles, name: keyof UserFiles): number {
  if (name !== "shadow" && name !== "gshadow") return 0;
  return Number(
    lines(group)
      .find((line) => line.startsWith("shadow:"))
      ?.split(":")[2] ?? 0,
  );
}

function lines(text: string | null): readonly string[] {
  return (text ?? "").split("\n").filter((line) => line !== "");
}

function names(text: string | null): readonly string[] {
  return lines(text).map((line) => line.split(":")[0] ?? "");
}

function ids(text: string | null): readonly number[] {
  return lines(text).map((line) => Number(line.split(":")[2]));
}
