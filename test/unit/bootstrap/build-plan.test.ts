import { expect, test } from "vitest";
import { planBuild } from "../../../src/bootstrap/build-plan.ts";
import type { Found } from "../../../src/bootstrap/find-release.ts";
import { mmdebstrapArguments, tmpfsSize } from "../../../src/bootstrap/mmdebstrap.ts";
import { parseRecipe } from "../../../src/bootstrap/recipe.ts";

const TEXT = `
[recipe]
title = Debian
default-release = x
[mmdebstrap]
variant = minbase
components = main contrib
keyring = /k.gpg
include[] = systemd
include[] = dbus
path-exclude[] = /usr/share/man/*
[release x]
title = X
suite = x
source[] = debian x
source[] = debian-security x-security
hook[] = maybe-merged-usr
`;
const ARCHIVES = { debian: "http://m.example/debian", "debian-security": "http://m.example/debian-security" };

function found(text = TEXT): Found {
  const recipe = parseRecipe(text, "debian.ini");
  const [release] = recipe.releases;
  if (release === undefined) throw new Error("no release");
  return { recipe, release };
}

test("mmdebstrap's arguments", () => {
  const plan = planBuild(found(), ARCHIVES, "x64");
  expect(mmdebstrapArguments(plan, () => true)).toEqual([
    "--verbose",
    "--mode=root",
    "--format=directory",
    "--variant=minbase",
    "--components=main contrib",
    "--keyring=/k.gpg",
    "--include=systemd,dbus",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--hook-directory=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
    "--aptopt=./apt.conf",
    "--",
    "x",
    "/mnt/tree",
    "deb http://m.example/debian x main contrib\ndeb http://m.example/debian-security x-security main contrib",
  ]);
});

test("a hook that this mmdebstrap does not have is left out", () => {
  const plan = planBuild(found(), ARCHIVES, "x64");
  expect(mmdebstrapArguments(plan, () => false).join(" ")).not.toContain("hook");
});

test("mmdebstrap's own archives are used unless the host has all that the release needs", () => {
  for (const archives of [{}, { debian: ARCHIVES.debian }]) {
    const plan = planBuild(found(), archives, "x64");
    expect(plan.sources).toEqual([]);
    expect(mmdebstrapArguments(plan, () => true).slice(-2)).toEqual(["x", "/mnt/tree"]);
  }
});

test("a machine with an https archive gets the certificates to reach it", () => {
  const plan = planBuild(found(), { ...ARCHIVES, debian: "https://m.example/debian" }, "x64");
  expect(plan.options).toContain("--include=systemd,dbus,ca-certificates");
});

test("the key is the same for the same, and another for anything that changes the tree", () => {
  const key = planBuild(found(), ARCHIVES, "x64").key;
  expect(key).toMatch(/^[0-9a-f]{64}$/);
  expect(planBuild(found(), { ...ARCHIVES }, "x64").key).toBe(key);
  const others = [
    planBuild(found(), ARCHIVES, "arm64"),
    planBuild(found(), {}, "x64"),
    planBuild(found(TEXT.replace("dbus", "dbus-broker")), ARCHIVES, "x64"),
    planBuild(found(TEXT.replace("/man/", "/info/")), ARCHIVES, "x64"),
    planBuild(found(TEXT.replace("suite = x", "suite = y")), ARCHIVES, "x64"),
    planBuild(found(TEXT.replace("hook[] = maybe-merged-usr", "")), ARCHIVES, "x64"),
  ].map((plan) => plan.key);
  expect(new Set([key, ...others]).size).toBe(others.length + 1);
  expect(planBuild(found(TEXT.replace("title = X", "title = Y")), ARCHIVES, "x64").key, "a title does not").toBe(key);
});

test("trees are built in memory where half of it is at least a gibibyte", () => {
  expect(tmpfsSize(2 ** 31)).toBe(2 ** 30);
  expect(tmpfsSize(2 ** 31 - 2)).toBe(0);
});
