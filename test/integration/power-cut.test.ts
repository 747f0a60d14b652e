/** The power is cut while images are made, copied, renamed and removed: each is as it was or as it is to be, and what was done stays. */
import { beforeAll, expect, test } from "vitest";
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

test.each(CUT_FILE_SYSTEMS)(
  "on %s whatever is done with images survives a power cut, whole or not at all",
  async (type) => {
    const { looks, faults } = await cutAll(type, { most: 2, storm: false });
    expect(faults).toEqual([]);
    expect(looks).toBeGreaterThan(50);
  },
  240_000,
);
