import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { findRelease } from "../../../src/bootstrap/find-release.ts";
import { parseRecipe, readRecipes } from "../../../src/bootstrap/recipe.ts";

const RECIPES = fileURLToPath(new URL("../../../bootstrap", import.meta.url));
const shipped = await readRecipes(RECIPES);

const SMALL = `
[recipe]
title = Small
default-release = one
[mmdebstrap]
variant = minbase
components = main
keyring = /k
include[] = a
path-include[] = /x/y
path-exclude[] = /x/*
[release one]
title = One
suite = one
source[] = debian one
[release two]
title = Two
alias[] = 2
suite = two
include[] = b
variant = apt
source[] = debian two
source[] = debian-security two-security
`;

test("the shipped recipes have bookworm, trixie and sid, each with an init and a bus", () => {
  const debian = shipped.find((recipe) => recipe.name === "debian");
  expect(debian?.releases.map((release) => release.name)).toEqual(["bookworm", "trixie", "sid"]);
  for (const release of debian?.releases ?? []) {
    expect(release.mmdebstrap.include).toEqual(expect.arrayContaining(["systemd-sysv", "dbus", "libpam-systemd"]));
    expect(release.mmdebstrap.pathFilters).toContain("path-include=/usr/share/doc/*/copyright");
  }
});

test("a release adds to the recipe's lists and replaces its other values", () => {
  const recipe = parseRecipe(SMALL, "/r/small.ini");
  const [one, two] = recipe.releases;
  expect(recipe.name).toBe("small");
  expect([one?.mmdebstrap.include, one?.mmdebstrap.variant]).toEqual([["a"], "minbase"]);
  expect([two?.mmdebstrap.include, two?.mmdebstrap.variant]).toEqual([["a", "b"], "apt"]);
  expect(two?.sources).toEqual([
    { archive: "debian", suite: "two" },
    { archive: "debian-security", suite: "two-security" },
  ]);
  expect(one?.mmdebstrap.pathFilters, "an include can take a part back").toEqual([
    "path-exclude=/x/*",
    "path-include=/x/y",
  ]);
});

const BROKEN: readonly (readonly [string, string, string, RegExp])[] = [
  ["an unknown key", "keyring = /k", "keyrings = /k", /small\.ini: \[mmdebstrap\]: unknown key "keyrings"/],
  ["an inherited name as key", "keyring = /k", "constructor = /k", /unknown key "constructor"/],
  ["a text where a list belongs", "include[] = a", "include = a", /\[mmdebstrap\] include: must be a list/],
  ["a list where a text belongs", "title = Small", "title[] = Small", /\[recipe\] title: must be one text/],
  ["an unknown section", "[release two]", "[releases two]", /unknown section \[releases two\]/],
  ["a missing value", "suite = one", "", /\[release one\]: suite is missing/],
  ["an unknown archive", "debian one", "ubuntu one", /\[release one\] source: "ubuntu one" is not ARCHIVE SUITE/],
  ["a default release that is none", "default-release = one", "default-release = 1", /default-release "1" has no/],
];
test.each(BROKEN)("%s is an error that says where", (_, from, to, message) => {
  expect(SMALL).toContain(from);
  expect(() => parseRecipe(SMALL.replace(from, to), "/r/small.ini")).toThrow(message);
});

test.each([
  ["debian", undefined, "trixie"],
  ["debian", "bookworm", "bookworm"],
  ["debian", "12", "bookworm"],
  ["debian/sid", undefined, "sid"],
  ["debian/sid", "sid", "sid"],
  ["bookworm", undefined, "bookworm"],
  ["unstable", undefined, "sid"],
])("%s --release %s is %s", (recipe, release, found) => {
  expect(findRelease(shipped, recipe, release).release.name).toBe(found);
});

test.each([
  ["debain", undefined, 'there is no recipe "debain"', "did you mean debian?"],
  ["bookwrom", undefined, 'there is no recipe "bookwrom"', "did you mean bookworm?"],
  ["debian", "trixe", 'there is no release of debian "trixe"', "did you mean trixie?"],
  ["debian/trixe", undefined, 'there is no release of debian "trixe"', "did you mean trixie?"],
  ["debian/trixie", "sid", "name different releases", undefined],
  ["trixie", "sid", '"trixie" is a release itself', undefined],
  ["a/b/c", undefined, 'there is no recipe "a/b/c"', "berth recipes"],
  ["\u001b[31m", undefined, '"\\u{1b}[31m"', "berth recipes"],
  ["/etc", undefined, 'there is no recipe "/etc"', "berth recipes"],
  ["", undefined, 'there is no recipe ""', "berth recipes"],
])("%j --release %j is refused with a way out", (recipe, release, message, hint) => {
  let caught: unknown;
  try {
    findRelease(shipped, recipe, release);
  } catch (error) {
    caught = error;
  }
  expect(caught).toMatchObject({ message: expect.stringContaining(message), exitStatus: 2 });
  if (hint !== undefined) expect(caught).toMatchObject({ hint: expect.stringContaining(hint) });
});

test("a release name that two recipes have must be told apart", () => {
  const two = [parseRecipe(SMALL, "small.ini"), parseRecipe(SMALL, "other.ini")];
  expect(() => findRelease(two, "two")).toThrow('several recipes have a release "two"');
  expect(findRelease(two, "other/two").recipe.name).toBe("other");
});
