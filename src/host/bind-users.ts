import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { BindUserFacts, HostUser } from "../plan/facts.ts";
import type { TreeRoot } from "./in-root.ts";
import { readPathFacts } from "./tree-facts.ts";
import { parsePasswd, readFirst } from "./users.ts";

const ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };

/** What BindUser= has to know: the host's users of these names, and what the tree has of names and numbers already. */
export function readBindUsers(
  names: readonly string[],
  root: TreeRoot,
  wanted: readonly string[],
): BindUserFacts | null {
  if (names.length === 0) return null;
  const [users = [], groups = []] = ["/etc/passwd", "/etc/group"].map((path) => entriesOf(readInTree(root, path)));
  const taken = [users, groups];
  return {
    host: Object.fromEntries(names.map((name) => [name, hostUser(name)])),
    tree: {
      names: names.filter((name) => taken.some((entries) => entries.some((entry) => entry.name === name))),
      ids: [...new Set(taken.flatMap((entries) => entries.map(({ id }) => id)))],
      groups: Object.fromEntries(groups.filter(({ name }) => wanted.includes(name)).map(({ name, id }) => [name, id])),
    },
  };
}

function hostUser(name: string): HostUser | null {
  const user = parsePasswd(hostEntry("passwd", name)).find((each) => each.name === name);
  if (user === undefined) return null;
  const { uid, gid, home, shell } = user;
  return { uid, gid, home, shell, homeFacts: readPathFacts(home) };
}

/** The password's hash, for the record of a bound user; null: there is none, or it locks the account. */
export function passwordHash(name: string): string | null {
  const entry = hostEntry("shadow", name)
    .split("\n")
    .find((line) => line.startsWith(`${name}:`));
  const hash = entry?.split(":")[1] ?? "";
  return /^(\$[^:\s]+|[./A-Za-z0-9]{13})$/.test(hash) ? hash : null;
}

/** Of the host's own file, else of whatever other databases its nsswitch.conf(5) names. */
function hostEntry(database: "passwd" | "shadow", name: string): string {
  const text = readText(`/etc/${database}`);
  if (text.split("\n").some((line) => line.startsWith(`${name}:`))) return text;
  try {
    const stdio = ["ignore", "pipe", "ignore"] as const;
    return execFileSync("getent", [database, "--", name], { encoding: "utf8", env: ENVIRONMENT, stdio: [...stdio] });
  } catch {
    return ""; // nobody knows it
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Not to be allowed to look is no error: who plans without root gets the plan of a tree that has none of them. */
function readInTree(root: TreeRoot, path: string): string {
  try {
    return readFirst(path, [root]) ?? "";
  } catch {
    return "";
  }
}

/** passwd(5) and group(5) agree on where name and number are. */
function entriesOf(text: string): readonly { readonly name: string; readonly id: number }[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , id = ""] = line.split(":");
    return /^[0-9]+$/.test(id) ? [{ name, id: Number(id) }] : [];
  });
}
