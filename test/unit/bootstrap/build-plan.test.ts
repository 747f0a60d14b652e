import { expect, test } from "vitest";
import { type BuildPlan, type PlanContext, planBuild } from "../../../src/bootstrap/build-plan.ts";
import type { Found } from "../../../src/bootstrap/find-release.ts";
import type { HostArchives } from "../../../src/bootstrap/host-apt.ts";
import type { Lock } from "../../../src/bootstrap/lock.ts";
import { mmdebstrapArguments, tmpfsSize } from "../../../src/bootstrap/mmdebstrap.ts";
import type { MmdebstrapPlan } from "../../../src/bootstrap/mmdebstrap-plan.ts";
import { parseRecipe } from "../../../src/bootstrap/read-recipes.ts";

const TEXT = `
[recipe]
title = Debian
default-release = x
[mmdebstrap]
variant = minbase
components = main contrib
keyring[] = /k.gpg
path-exclude[] = /usr/share/man/*
[tree]
package[] = systemd
package[] = dbus
[release x]
title = X
suite = x
source[] = debian x
source[] = debian-security x-security
hook[] = maybe-merged-usr
`;
const ARCHIVES = { debian: "http://m.example/debian", "debian-security": "http://m.example/debian-security" };

const LOCK: Lock = {
  version: 1,
  recipe: "debian",
  release: "x",
  architecture: "x86_64",
  tool: "mmdebstrap",
  created: "2026-01-01T00:00:00.000Z",
  sources: [],
  packages: { "a:all": { version: "1.0-1", digest: null } },
};

function found(text = TEXT): Found {
  const recipe = parseRecipe(text, "debian.ini");
  const [release] = recipe.releases;
  if (release === undefined) throw new Error("no release");
  return { recipe, release };
}

/** Of mmdebstrap. */
function plan(
  archives: HostArchives = ARCHIVES,
  text = TEXT,
  more: Partial<PlanContext> = {},
): BuildPlan & { build: MmdebstrapPlan } {
  const made = planBuild(found(text), { archives, architecture: "x86_64", digests: new Map(), ...more });
  const { build } = made;
  if (build.tool !== "mmdebstrap") throw new Error("not made by mmdebstrap");
  return { ...made, build };
}

test("mmdebstrap's arguments", () => {
  expect(mmdebstrapArguments(plan().build, () => true)).toEqual([
    "--verbose",
    "--mode=root",
    "--format=directory",
    "--variant=minbase",
    "--components=main contrib",
    "--keyring=/k.gpg",
    "--include=systemd,dbus",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--hook-directory=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
    "--aptopt=/tool/apt.conf",
    "--skip=check/empty,chroot/mount",
    "--extract-hook=echo proc >/tool/please; read -r mounted </tool/done",
    "--",
    "x",
    "/tree",
    "deb http://m.example/debian x main contrib\ndeb http://m.example/debian-security x-security main contrib",
  ]);
});

test("a hook that this mmdebstrap does not have is left out", () => {
  expect(mmdebstrapArguments(plan().build, () => false).join(" ")).not.toContain("hook-directory");
});

test("mmdebstrap's own archives are used unless the host has all that the release needs", () => {
  for (const archives of [{}, { debian: ARCHIVES.debian }]) {
    const { build } = plan(archives);
    expect(build.sources).toEqual([]);
    expect(mmdebstrapArguments(build, () => true).slice(-2)).toEqual(["x", "/tree"]);
  }
});

test("a machine with an https archive gets the certificates to reach it", () => {
  expect(plan({ ...ARCHIVES, debian: "https://m.example/debian" }).build.options).toContain(
    "--include=systemd,dbus,ca-certificates",
  );
});

test("the key is the same for the same, and another for anything that changes the tree", () => {
  const { key } = plan();
  expect(key).toMatch(/^[0-9a-f]{64}$/);
  expect(plan({ ...ARCHIVES }).key).toBe(key);
  const withFile = TEXT.replace("[tree]", "[tree]\nfile[] = /motd /etc/motd\nuser[] = me key=/key");
  const others = [
    plan(ARCHIVES, TEXT, { architecture: "aarch64" }),
    plan({}),
    plan(ARCHIVES, TEXT.replace("= dbus", "= dbus-broker")),
    plan(ARCHIVES, TEXT.replace("/man/", "/info/")),
    plan(ARCHIVES, TEXT.replace("suite = x", "suite = y")),
    plan(ARCHIVES, TEXT.replace("hook[] = maybe-merged-usr", "")),
    plan(ARCHIVES, TEXT.replace("[tree]", "[tree]\nrun[] = true")),
    plan(ARCHIVES, TEXT.replace("[tree]", "[tree]\nuser[] = me")),
    plan(ARCHIVES, withFile, { digests: new Map([["/motd", "1"]]) }),
    plan(ARCHIVES, withFile, { digests: new Map([["/motd", "2"]]) }),
    plan(ARCHIVES, withFile, {
      digests: new Map([
        ["/motd", "1"],
        ["/key", "1"],
      ]),
    }),
    plan(ARCHIVES, TEXT, { packages: ["vim"] }),
    plan(ARCHIVES, TEXT, { commands: ["false"] }),
    plan(ARCHIVES, TEXT, { mirror: "http://other.example/debian" }),
    plan(ARCHIVES, TEXT, { lock: LOCK }),
    plan(ARCHIVES, TEXT, { lock: { ...LOCK, packages: { "a:all": { version: "2", digest: null } } } }),
  ].map((other) => other.key);
  expect(new Set([key, ...others]).size).toBe(others.length + 1);
  expect(plan(ARCHIVES, TEXT.replace("title = X", "title = Y")).key, "a title does not").toBe(key);
});

test("what a lock file names is pinned, and nothing else may be installed", () => {
  const { build, locked } = plan(ARCHIVES, TEXT, { lock: LOCK });
  expect(locked).toEqual(LOCK.packages);
  expect(build.preferences).toBe(
    "Package: a\nPin: version 1.0-1\nPin-Priority: 1001\n\nPackage: *\nPin: release *\nPin-Priority: -1\n",
  );
  expect(build.options).toContain("--include=a");
  expect(plan().build.preferences).toBe("");
});

test("an architecture that a distribution is not made for is refused", () => {
  const text = TEXT.replace("title = Debian", "title = Debian\narchitecture[] = x86_64");
  expect(() => plan(ARCHIVES, text, { architecture: "aarch64" })).toThrow(
    "debian is there for x86_64, and this is aarch64",
  );
});

test("trees are built in memory where half of it is at least a gibibyte", () => {
  expect(tmpfsSize(2 ** 31)).toBe(2 ** 30);
  expect(tmpfsSize(2 ** 31 - 2)).toBe(0);
});
