/**
 * Trees on each file system, with and without a user namespace, in each way to keep or change them: a machine runs and
 * its tree is as that way has it, or the start says why not and what would do. Nothing is left behind either way.
 */
import { lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { FILE_SYSTEMS, type FileSystem, isPacked, mountFileSystem, toolsOf } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { MERGED_PROBE, mergedTree } from "../lib/merged-tree.ts";
import { needs, needsHere } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

/** What comes of a start. `written`: the machine's root can be written to; a string: part of why it was refused. */
type Outcome = "written" | "read-only" | string;

const WAYS = {
  "ReadOnly=": ["--read-only"],
  "Ephemeral=": ["-x"],
  "Volatile=yes": ["--volatile"],
  "Volatile=state": ["--volatile=state"],
  "Volatile=overlay": ["--volatile=overlay"],
  map: ["--private-users-ownership=map"],
  // From here on the tree changes. On overlayfs this is a chown, too.
  "as it is": [],
  chown: ["--private-users-ownership=chown"],
} as const;
type Way = keyof typeof WAYS;

const USUAL: Readonly<Record<Way, Outcome>> = {
  "as it is": "written",
  "ReadOnly=": "read-only",
  "Ephemeral=": "written",
  "Volatile=yes": "written",
  "Volatile=state": "read-only",
  "Volatile=overlay": "written",
  map: "written",
  chown: "written",
};
const ELSEWHERE = "hint: Volatile=overlay keeps it in memory";
const PACKED: Readonly<Partial<Record<Way, Outcome>>> = {
  "as it is": "read-only",
  map: "read-only",
  "Ephemeral=": ELSEWHERE,
  chown: "hint: PrivateUsersOwnership=map changes nothing on disk",
};
const UNMAPPED = "hint: no file system of type overlay maps ids: copy the tree to another";

/** Where it is not the usual one. */
const WITH_USERS: Readonly<Partial<Record<FileSystem, Readonly<Partial<Record<Way, Outcome>>>>>> = {
  overlay: {
    "ReadOnly=": UNMAPPED,
    "Ephemeral=": UNMAPPED,
    "Volatile=yes": UNMAPPED,
    "Volatile=state": UNMAPPED,
    "Volatile=overlay": UNMAPPED,
    map: "PrivateUsersOwnership=chown changes the owners on disk instead",
  },
  squashfs: PACKED,
  erofs: PACKED,
};
const WITHOUT_USERS: typeof WITH_USERS = {
  overlay: { "Ephemeral=": ELSEWHERE },
  squashfs: PACKED,
  erofs: PACKED,
};

const COMMAND = [MERGED_PROBE, "write", "/new", "x", "--", "stat", "/usr/kept", "--", "stat", "/new"];

async function start(
  type: FileSystem,
  ways: readonly Way[],
  users: readonly string[],
  expected: (way: Way) => Outcome,
) {
  await using root = berthRoot();
  using mounted = await mountFileSystem(type, join(root.path, "disk"), (directory) =>
    mergedTree(join(directory, "own")),
  );
  const tree = join(mounted.path, "own");
  let before = manifest(tree);
  for (const way of ways) {
    const outcome = expected(way);
    const { status, stdout, stderr } = await root.run(tree, ["-q", "-M", "m", ...users, ...WAYS[way]], COMMAND);
    const said = `${way}: ${stdout}${stderr}`;
    if (outcome === "written" || outcome === "read-only") {
      expect(stdout, said).toContain(`{"verb":"write",${outcome === "written" ? '"ok":true' : '"error":"EROFS"'}}`);
      // Of the tree, and what was written.
      expect(stdout.match(/"uid":0,"gid":0/g), said).toHaveLength(outcome === "written" ? 2 : 1);
    } else {
      expect([status, stdout], said).toEqual([125, ""]);
      expect(stderr, said).toContain(outcome);
    }
    if (["as it is", "map", "chown"].includes(way) && outcome === "written") {
      // The tree's own owners, whatever these are by now.
      const { uid, gid } = lstatSync(tree);
      expect(lstatSync(join(tree, "new")), said).toMatchObject({ uid, gid });
      before = manifest(tree);
    } else expect(manifest(tree), said).toEqual(before);
    expect(root.leftovers(), said).toEqual([]);
  }
}

describe.each(FILE_SYSTEMS)("a tree on %s", (type) => {
  test("in a user namespace, with --private-users-ownership=map and chown: runs, or says why not", async (ctx) => {
    needsHere(ctx, ...toolsOf(type), "kernel:6.6");
    await start(type, Object.keys(WAYS) as Way[], [], (way) => WITH_USERS[type]?.[way] ?? USUAL[way]);
  });

  test("without one: runs, or says why not", async (ctx) => {
    needsHere(ctx, ...toolsOf(type));
    const ways = (Object.keys(WAYS) as Way[]).filter((way) => way !== "map" && way !== "chown");
    await start(type, ways, ["--private-users=no"], (way) => WITHOUT_USERS[type]?.[way] ?? USUAL[way]);
  });
});

describe.each(FILE_SYSTEMS.filter((type) => !isPacked(type)))("a tree on %s", (type) => {
  test("whose owners are a range's already needs no mapping", async (ctx) => {
    needsHere(ctx, ...toolsOf(type), "kernel:6.6");
    await using root = berthRoot();
    using mounted = await mountFileSystem(type, join(root.path, "disk"), (directory) =>
      mergedTree(join(directory, "own")),
    );
    const tree = join(mounted.path, "own");
    const chown = ["--private-users=655360", "--private-users-ownership=chown"];
    expect((await root.run(tree, ["-q", ...chown], [MERGED_PROBE, "cwd"])).status).toBe(0);
    for (const way of Object.keys(WAYS) as Way[]) {
      const { stdout, stderr } = await root.run(tree, ["-q", "--private-users=yes", ...WAYS[way]], COMMAND);
      const said = `${way}: ${stdout}${stderr}`;
      if (type === "overlay" && way === "Ephemeral=") expect(stderr, said).toContain(ELSEWHERE);
      else
        expect(stdout, said).toContain(
          `{"verb":"write",${USUAL[way] === "written" ? '"ok":true' : '"error":"EROFS"'}}`,
        );
    }
    mkdirSync(join(tree, "unharmed"));
  });
});
