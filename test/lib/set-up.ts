/**
 * What nearly every test of machines begins with: what they need, the leak check, dist/berth and the probe's tree.
 *
 *   const { tree } = setUpProbe();                                   // at the top of a file
 *   const { ready, tree } = setUpProbe({ init: true }, "tool:ip");   // a tree that boots, and one thing more is needed
 */
import { beforeAll } from "vitest";
import { buildBerth } from "./berth.ts";
import { checkLeaks } from "./leaks.ts";
import { probeTree, probeTreePath, type TreeOptions } from "./probe.ts";
import { type Need, needs } from "./requires.ts";

export interface SetUp {
  /** False: the tests are skipped, with a reason. */
  readonly ready: boolean;
  /** Shared, read-only by agreement; there when the tests begin. */
  readonly tree: string;
}

export function setUpProbe({ init = false }: Pick<TreeOptions, "init"> = {}, ...more: readonly Need[]): SetUp {
  const ready = needs("root", "userns", "cgroup2", "cc", ...more);
  checkLeaks();
  beforeAll(async () => {
    if (!ready) return;
    buildBerth();
    await probeTree({ init });
  });
  return { ready, tree: probeTreePath({ init }) };
}
