/** What is said where a distribution's tool, or its keys, are not there. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { planBuild } from "../../../src/bootstrap/build-plan.ts";
import { findRelease } from "../../../src/bootstrap/find-release.ts";
import { parseRecipe, readRecipes } from "../../../src/bootstrap/read-recipes.ts";
import { type Host, requireTool } from "../../../src/bootstrap/run-tool.ts";

const RECIPES = fileURLToPath(new URL("../../../bootstrap", import.meta.url));
const shipped = await readRecipes({ recipes: RECIPES, etc: "/nonexistent" }, "x86_64");

const BARE: Host = { missing: (programs) => programs, exists: () => false };
const KEYLESS: Host = { missing: () => [], exists: () => false };
const WHOLE: Host = { missing: () => [], exists: () => true };

/** What is thrown; undefined: nothing. */
function fault(wanted: string, host: Host, recipes = shipped): unknown {
  const found = findRelease(recipes, wanted);
  const { build, image } = planBuild(found, { archives: {}, architecture: "x86_64", digests: new Map() });
  if (build.tool === "mmdebstrap") throw new Error("made by mmdebstrap");
  try {
    requireTool("it", image, build, host);
    return undefined;
  } catch (error) {
    return error;
  }
}

test.each([
  [
    "arch",
    "pacman and gpg and gpg-agent",
    "apt-get install --no-install-recommends pacman-package-manager gpg gpg-agent; or: berth pull images:archlinux/current NAME needs no tool",
  ],
  [
    "void",
    "xbps-install and xbps-query",
    "Debian has no package of xbps; or: berth pull images:voidlinux/current NAME needs no tool",
  ],
  [
    "centos",
    "dnf and rpm",
    "apt-get install --no-install-recommends dnf rpm; or: berth pull images:centos/10-Stream NAME needs no tool",
  ],
  [
    "centos/9",
    "dnf and rpm",
    "apt-get install --no-install-recommends dnf rpm; or: berth pull images:centos/9-Stream NAME needs no tool",
  ],
])("%s without its tool", (recipe, programs, hint) => {
  expect(fault(recipe, BARE)).toMatchObject({ message: `it needs ${programs}, not installed here`, hint });
  expect(fault(recipe, WHOLE)).toBeUndefined();
});

test("arch without its keys", () => {
  expect(fault("arch", KEYLESS)).toMatchObject({
    message: expect.stringMatching(/^it needs the keys \/usr\/share\/keyrings\/archlinux\.gpg and /),
    hint: "apt-get install --no-install-recommends archlinux-keyring; or: berth pull images:archlinux/current NAME needs no tool",
  });
});

test("a recipe that names no image has no other way", () => {
  const text = "[recipe]\ntitle = R\ndefault-release = 1\n[xbps]\nkeyring[] = /k\n[release 1]\ntitle = R\n";
  const own = { recipes: [parseRecipe(text, "/r/own.ini")], broken: [] };
  expect(fault("own", BARE, own)).toMatchObject({ hint: "Debian has no package of xbps" });
});
