import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findRelease } from "../../../src/bootstrap/find-release.ts";
import { parseRecipe, readRecipes } from "../../../src/bootstrap/read-recipes.ts";
import type { MmdebstrapSettings, Release } from "../../../src/bootstrap/recipe.ts";

const RECIPES = fileURLToPath(new URL("../../../bootstrap", import.meta.url));
const shipped = await readRecipes({ recipes: RECIPES, etc: "/nonexistent" });

const SMALL = `
[recipe]
title = Small
default-release = one
[mmdebstrap]
variant = minbase
components = main
keyring[] = /k
path-include[] = /x/y
path-exclude[] = /x/*
[tree]
package[] = a
[release one]
title = One
suite = one
source[] = debian one
[release two]
title = Two
alias[] = 2
suite = two
package[] = b
variant = apt
source[] = debian two
source[] = debian-security two-security
`;

function mmdebstrapOf(release: Release | undefined): MmdebstrapSettings {
  if (release?.build.tool !== "mmdebstrap") throw new Error("not made by mmdebstrap");
  return release.build;
}

test("the shipped recipes have bookworm, trixie and sid, each with an init and a bus", () => {
  const debian = shipped.recipes.find((recipe) => recipe.name === "debian");
  expect(debian?.releases.map((release) => release.name)).toEqual(["bookworm", "trixie", "sid"]);
  for (const release of debian?.releases ?? []) {
    expect(release.additions.packages).toEqual(expect.arrayContaining(["systemd-sysv", "dbus", "libpam-systemd"]));
    expect(mmdebstrapOf(release).pathFilters).toContain("path-include=/usr/share/doc/*/copyright");
  }
});

test("a release adds to the recipe's lists and replaces its other values", () => {
  const recipe = parseRecipe(SMALL, "/r/small.ini");
  const [one, two] = recipe.releases;
  expect(recipe.name).toBe("small");
  expect([one?.additions.packages, mmdebstrapOf(one).variant]).toEqual([["a"], "minbase"]);
  expect([two?.additions.packages, mmdebstrapOf(two).variant]).toEqual([["a", "b"], "apt"]);
  expect(mmdebstrapOf(two).sources).toEqual([
    { archive: "debian", suite: "two" },
    { archive: "debian-security", suite: "two-security" },
  ]);
  expect(mmdebstrapOf(one).pathFilters, "an include can take a part back").toEqual([
    "path-exclude=/x/*",
    "path-include=/x/y",
  ]);
});

test("an image's name is the recipe's, with the release's name in it, or the release's own, or none", () => {
  const imagesOf = (text: string) => parseRecipe(text, "/r/small.ini").releases.map(({ image }) => image);
  const named = SMALL.replace("title = Small", "title = Small\nimage = tiny/$release-Stream");
  expect(imagesOf(SMALL)).toEqual([null, null]);
  expect(imagesOf(named)).toEqual(["tiny/one-Stream", "tiny/two-Stream"]);
  expect(imagesOf(named.replace("title = Two", "title = Two\nimage = tiny/second"))).toEqual([
    "tiny/one-Stream",
    "tiny/second",
  ]);
});

test("the shipped recipes' names on the image server", () => {
  const images = shipped.recipes.flatMap(({ releases }) => releases.map(({ image }) => image));
  expect(images).toEqual([
    ...["alpine/3.21", "alpine/3.22", "alpine/edge", "archlinux/current", "centos/9-Stream", "centos/10-Stream"],
    ...["debian/bookworm", "debian/trixie", "debian/sid", "fedora/42", "fedora/43"],
    ...["opensuse/tumbleweed", "opensuse/15.6", "ubuntu/jammy", "ubuntu/noble", "voidlinux/current"],
  ]);
});

const BROKEN: readonly (readonly [string, string, string, RegExp])[] = [
  ["an unknown key", "keyring[] = /k", "keyrings = /k", /^\/r\/small\.ini:8:1: \[mmdebstrap\]: unknown key "keyrings"/],
  ["an inherited name as key", "keyring[] = /k", "constructor = /k", /unknown key "constructor"/],
  ["a text where a list belongs", "package[] = a", "package = a", /\[tree\] package: must be a list/],
  ["a list where a text belongs", "title = Small", "title[] = Small", /\[recipe\] title: must be one text/],
  ["an unknown section", "[release two]", "[releases two]", /unknown section \[releases two\]/],
  ["a missing value", "title = One", "", /small\.ini:\d+:1: \[release one\]: title is missing/],
  [
    "the third of several",
    "package[] = a",
    'package[] = a\n; -\npackage[] = b\n  package[] =  "-c"',
    /small\.ini:15:16: \[tree\] package: "-c"/,
  ],
  ["two tools", "[tree]", "[dnf]\nrepository[] = a b\n[tree]", /both \[mmdebstrap\] and \[dnf\] build it/],
  ["no tool", "[mmdebstrap]", "[debootstrap]", /no section says what builds it/],
  ["half a command", "package[] = a", "run[] = echo a; echo b", /small\.ini:12:15: a value with ; or # in it/],
  ["what is no package", "package[] = a", "package[] = --force", /\[tree\] package: "--force" is no package's name/],
  [
    "a file without a place",
    "package[] = a",
    "file[] = motd",
    /small\.ini:12:10: \[tree\] file: "\/r\/motd" is not SOURCE PATH/,
  ],
  ["a file out of the tree", "package[] = a", "file[] = motd /etc/../../x", /is not SOURCE PATH/],
  ["a file with a mode that is none", "package[] = a", "file[] = motd /etc/motd 0999", /is not SOURCE PATH/],
  ["a user's name that is none", "package[] = a", "user[] = Root:x", /"Root:x" is no user's name/],
  ["a user's unknown word", "package[] = a", "user[] = me password=x", /"password=x" is not known/],
  [
    "a uid that is none",
    "package[] = a",
    "user[] = me uid=0",
    /small\.ini:12:10: \[tree\] user: uid=0 is not one of 1 to/,
  ],
  ["a network that is none", "package[] = a", "network = all", /\[tree\] network: "all" is not none or host/],
  ["a repository of mmdebstrap", "variant = minbase", "repository[] = a b", /unknown key "repository"/],
  ["a key of every object", "package[] = a", "__proto__ = a", /small\.ini:\d+:1: unknown key or section "__proto__"/],
  ["a section of that name", "title = Small", "title = Small\n[__proto__]", /small\.ini:4:1: unknown key or section/],
  ["the same with blanks", "title = Small", "title = Small\n[ __proto__ ]", /small\.ini:4:1: unknown key or section/],
  ["a value before the sections", "\n[recipe]", "\na = b\n[recipe]", /"a" is written before the first section/],
  [
    "an image without a release",
    "title = Small",
    "title = Small\nimage = void",
    /small\.ini:4:9: \[recipe\] image: "void" is not DISTRIBUTION\/RELEASE/,
  ],
  ["an image with its server", "title = Small", "title = Small\nimage = images:void/current", /is not DISTRIBUTION/],
  ["an image for a shell", "title = Small", "title = Small\nimage = a/$(reboot)", /"a\/\$\(reboot\)" is not/],
  ["an image with another word", "title = Small", "title = Small\nimage = a/$version", /"a\/\$version" is not/],
  ["an image with three parts", "title = Small", "title = Small\nimage = a/b/cloud", /is not DISTRIBUTION/],
  [
    "a release's image",
    "title = One",
    "title = One\nimage = One",
    /small\.ini:15:9: \[release one\] image: "One" is not/,
  ],
  ["images", "title = Small", "title = Small\nimage[] = a/b", /\[recipe\] image: must be one text/],
  ["an image that no release has", "title = Small\n", "title = Small\nimage = x\n", /\[recipe\] image: "x" is not/],
  ["an unknown archive", "debian one", "ubuntu one", /\[release one\] source: "ubuntu one" is not ARCHIVE SUITE/],
  [
    "a default release that is none",
    "default-release = one",
    "default-release = 1",
    /small\.ini:4:19: \[recipe\] default-release: "1" has no/,
  ],
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
  const two = { recipes: [parseRecipe(SMALL, "small.ini"), parseRecipe(SMALL, "other.ini")], broken: [] };
  expect(() => findRelease(two, "two")).toThrow('several recipes have a release "two"');
  expect(findRelease(two, "other/two").recipe.name).toBe("other");
});

test("files, users and commands, of all releases and of one; files lie beside the recipe", () => {
  const text = SMALL.replace(
    "package[] = a",
    'file[] = motd /etc/motd\nuser[] = me uid=1001 groups=adm,sudo shell=/bin/bash key=keys/me.pub\nrun[] = "echo a; echo b"',
  ).replace("alias[] = 2", "alias[] = 2\nfile[] = /abs/x /usr/bin/x 0755\nrun[] = true");
  const [one, two] = parseRecipe(text, "/r/small.ini").releases;
  const motd = { source: "/r/motd", path: "/etc/motd", mode: 0o644 };
  expect(one?.additions).toEqual({
    packages: [],
    files: [motd],
    users: [{ name: "me", uid: 1001, groups: ["adm", "sudo"], shell: "/bin/bash", key: "/r/keys/me.pub" }],
    commands: [{ text: "echo a; echo b", where: "/r/small.ini:14:9: [tree] run" }],
    network: "none",
  });
  expect(two?.additions.files).toEqual([motd, { source: "/abs/x", path: "/usr/bin/x", mode: 0o755 }]);
  expect(two?.additions.commands.map(({ text }) => text)).toEqual(["echo a; echo b", "true"]);
});

test("a value for one architecture stands there in place of the one for all; a release's name may have a dot", () => {
  const text = `
[recipe]
title = R
default-release = 3.20
[apk]
keyring[] = /keys
mirror = http://m.example/a
mirror-aarch64 = http://m.example/b
repository[] = main $mirror/v$version/main
[release 3.20]
title = R 3.20
`;
  const build = (architecture: "x86_64" | "aarch64") => parseRecipe(text, "/r/r.ini", architecture).releases[0]?.build;
  expect(build("x86_64")).toMatchObject({ tool: "apk", mirror: "http://m.example/a", keyrings: ["/keys"] });
  expect(build("aarch64")).toMatchObject({ mirror: "http://m.example/b" });
  expect(parseRecipe(text, "/r/r.ini").releases[0]).toMatchObject({ name: "3.20", version: "3.20" });
});

describe("the host's own recipes", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "recipes-"));
    await mkdir(join(root, "etc/recipes"), { recursive: true });
    await mkdir(join(root, "shipped"));
    await writeFile(join(root, "shipped/small.ini"), SMALL);
  });
  afterEach(() => rm(root, { recursive: true, force: true }));
  const own = (name: string, text: string) => writeFile(join(root, "etc/recipes", name), text);
  const read = () => readRecipes({ recipes: join(root, "shipped"), etc: join(root, "etc") });

  test("extend a shipped one, also of the same name: lists are added to, other values replaced", async () => {
    await own(
      "small.ini",
      "[recipe]\nextends = small\ndefault-release = two\n[tree]\npackage[] = mine\nfile[] = f /f\n",
    );
    await own("web.ini", "[recipe]\nextends = small\ntitle = Web\n[tree]\npackage[] = nginx\n");
    const [small, web] = (await read()).recipes;
    expect([small?.name, small?.title, small?.defaultRelease]).toEqual(["small", "Small", "two"]);
    expect(small?.releases.map(({ additions }) => additions.packages)).toEqual([
      ["a", "mine"],
      ["a", "mine", "b"],
    ]);
    expect(small?.releases[0]?.additions.files[0]?.source).toBe(join(root, "etc/recipes/f"));
    expect([web?.name, web?.title]).toEqual(["web", "Web"]);
    expect(web?.releases[0]?.additions.packages, "through the host's own").toEqual(["a", "mine", "nginx"]);
  });

  test("without extends stand in for the shipped one", async () => {
    await own("small.ini", SMALL.replace("title = Small", "title = Other"));
    expect((await read()).recipes.map(({ title }) => title)).toEqual(["Other"]);
  });

  test("that can't be used are told apart: by what they are asked for, and nobody else's", async () => {
    await own("web.ini", "[recipe]\nextends = smal\n");
    await own("one.ini", "[recipe]\nextends = two\n");
    await own("two.ini", "[recipe]\nextends = one\n");
    await own("many.ini", "[recipe]\nextends[] = small\nextends[] = one\n");
    await own("odd.ini", "[recipe]\nextends = small\n[file]\npath = /etc/motd\n");
    await own("cut.ini", "[recipe]\nextends = small\ntitle = a # b\n");
    await own("upon.ini", "[recipe]\nextends = cut\n");
    await own("base.ini", "[recipe]\nextends = small\n[tree]\nfile[] = motd etc/motd\n");
    await own("wrong.ini", "[recipe]\nextends = base\n[tree]\nfile[] = motd /etc/motd\n");
    await mkdir(join(root, "etc/recipes/place.ini"));
    execFileSync("mkfifo", [join(root, "etc/recipes/pipe.ini")]);
    const found = await read();
    expect(found.recipes.map(({ name }) => name)).toEqual(["small"]);
    const faults: Record<string, string> = {
      web: 'web.ini:2:11: [recipe] extends: there is no recipe "smal"',
      one: "one.ini:2:11: [recipe] extends: it would extend itself",
      two: "two.ini:2:11: [recipe] extends: it would extend itself",
      many: "many.ini:2:1: [recipe] extends: must be one text",
      odd: "odd.ini:3:1: unknown section [file]",
      cut: "cut.ini:3:11: a value with ; or # in it",
      upon: "cut.ini:3:11: a value with ; or # in it",
      wrong: "base.ini:4:10: [tree] file: ",
      base: "base.ini:4:10: [tree] file: ",
      place: "place.ini: it is no regular file",
      pipe: "pipe.ini: it is no regular file",
    };
    expect(found.broken.map(({ name }) => name)).toEqual(Object.keys(faults).sort());
    for (const { name, error } of found.broken) {
      expect(error.message).toContain(faults[name]);
      expect(() => findRelease(found, name)).toThrow(error.message);
    }
    expect(findRelease(found, "small").recipe.name).toBe("small");
  });

  test("that can't be used do not let a shipped one of their name through", async () => {
    await own("small.ini", "[recipe]\nextends = small\n[nix]\na = b\n");
    const found = await read();
    expect(found.recipes).toEqual([]);
    expect(() => findRelease(found, "small")).toThrow("small.ini:3:1: unknown section [nix]");
  });
});
