/** The same as power-cut.test.ts at many more moments, also while the journal is written all the time: names then come before contents. */
import { beforeAll, describe, expect, test } from "vitest";
import { buildBerth } from "../lib/berth.ts";
import { CUT_FILE_SYSTEMS, CUT_TOOLS } from "../lib/cut-disk.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { cutAll } from "../lib/power-cuts.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cc", "tool:python3", "tool:tar", "tool:btrfs", ...CUT_TOOLS);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

describe.each(CUT_FILE_SYSTEMS)("%s", (type) => {
  test.each([
    ["that nobody else writes to", false],
    ["whose journal is written all the time", true],
  ])("a power cut at any moment, on a disk %s", async (_, storm) => {
    const { looks, faults } = await cutAll(type, { most: 20, storm });
    expect(faults).toEqual([]);
    expect(looks).toBeGreaterThan(150);
  });
});
