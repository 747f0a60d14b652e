import { expect, test } from "vitest";
import type { RecipeListing } from "../../../src/bootstrap/list-recipes.ts";
import { renderTable } from "../../../src/cli/verbs/recipes.ts";

function recipe(name: string, title: string): RecipeListing {
  return {
    ...{ name, title, tool: "mmdebstrap", forThisArchitecture: true },
    missing: { programs: [], debianPackages: [], keyrings: [] },
    releases: [{ name: "bookworm", title: "Debian 12 (bookworm)", aliases: [], default: true, cached: null }],
  };
}

test("a recipe that extends another one has its own title before that of the release", () => {
  expect(renderTable([recipe("debian", "Debian"), recipe("web", "Web server")]).split("\n")).toEqual([
    "RECIPE  RELEASE             TITLE                             TOOL        CACHED",
    "debian  bookworm (default)  Debian 12 (bookworm)              mmdebstrap  -",
    "web     bookworm (default)  Web server, Debian 12 (bookworm)  mmdebstrap  -",
  ]);
});
