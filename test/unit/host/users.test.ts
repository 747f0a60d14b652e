import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findUser, parseGroups, parsePasswd } from "../../../src/host/users.ts";

const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
# no entry
alice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh
bob:x:1001:100::relative:
broken:x:none:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
huge:x:4294967295:0::/:/bin/sh
escape\u001b:x:5:5::/:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`;
const GROUP = `root:x:0:
sudo:x:27:alice,bob
users:x:100:
docker:x:999:bob,alice
alice:x:1000:
malice:x:66:malice
`;

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "users-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function tree(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(directory, name);
  mkdirSync(join(root, "etc"), { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(root, "etc", file), text);
  return root;
}

test("a user is found by name and by number, with the groups that list them", () => {
  const root = tree("t", { passwd: PASSWD, group: GROUP });
  const alice = {
    name: "alice",
    uid: 1000,
    gid: 1000,
    groups: [1000, 27, 999],
    home: "/home/alice",
    shell: "/bin/zsh",
  };
  expect(findUser("alice", [root])).toEqual(alice);
  expect(findUser("1000", [root])).toEqual(alice);
});

test("who has no home or shell has the root directory and sh", () => {
  expect(findUser("bob", [tree("t", { passwd: PASSWD, group: GROUP })])).toEqual({
    name: "bob",
    uid: 1001,
    gid: 100,
    groups: [100, 27, 999],
    home: "/",
    shell: "/bin/sh",
  });
});

test("a number needs no entry, and no passwd", () => {
  const nobody = { name: "4242", uid: 4242, gid: 4242, groups: [4242], home: "/", shell: "/bin/sh" };
  expect(findUser("4242", [tree("t", { passwd: PASSWD })])).toEqual(nobody);
  expect(findUser("4242", [tree("empty", {})])).toEqual(nobody);
});

test("a name that is not there is told with those that are, people first", () => {
  const root = tree("t", { passwd: PASSWD });
  expect(findUser("alcie", [root])).toEqual({
    missing: "has no user alcie",
    known: ["alice", "bob", "root", "daemon", "nobody"],
  });
  expect(findUser("x", [tree("empty", {})])).toEqual({ missing: "has no /etc/passwd that could be read", known: [] });
});

describe("of trees that lie over each other", () => {
  test("the first one that has a file counts, for each file alone", () => {
    const lower = tree("lower", { passwd: PASSWD, group: GROUP });
    const upper = tree("upper", { passwd: "carol:x:1000:7::/srv:/bin/sh\nalice:x:5:5::/:/bin/sh\n" });
    expect(findUser("alice", [upper, lower])).toMatchObject({ uid: 5, groups: [5, 27, 999] });
    expect(findUser("root", [upper, lower])).toMatchObject({ missing: "has no user root" });
  });
});

describe("a tree that is a trap", () => {
  test("links are followed inside it only", () => {
    writeFileSync(join(directory, "secret"), "alice:x:1000:1000::/:/bin/sh\n");
    const root = tree("t", {});
    symlinkSync(join(directory, "secret"), join(root, "etc/passwd"));
    expect(findUser("alice", [root])).toMatchObject({ missing: "has no /etc/passwd that could be read" });
    writeFileSync(join(root, "passwd"), "alice:x:7:7::/:/bin/sh\n");
    rmSync(join(root, "etc/passwd"));
    symlinkSync("/passwd", join(root, "etc/passwd"));
    expect(findUser("alice", [root])).toMatchObject({ uid: 7 });
  });

  test("neither a directory nor a file of any size is read", () => {
    const root = tree("t", { passwd: `alice:x:1:1::/:/bin/sh\n${"#".repeat(2 << 20)}` });
    expect(findUser("alice", [root])).toMatchObject({ missing: "has no /etc/passwd that could be read" });
    const other = tree("u", {});
    mkdirSync(join(other, "etc/passwd"));
    expect(findUser("alice", [other])).toMatchObject({ known: [] });
  });

  test("entries with characters that no path has, and ids that are none, are passed over", () => {
    expect(parsePasswd(`${PASSWD}a\u0000b:x:1:1::/:/bin/sh`).map(({ name }) => name)).toEqual([
      "root",
      "daemon",
      "alice",
      "bob",
      "nobody",
    ]);
    expect(parseGroups("a:x:-5:alice\nb:x:4294967295:alice\nc:x:8:alice", "alice")).toEqual([8]);
  });
});
