/** A short soak of the daemon; the whole one is soak.long.test.ts. */
import { beforeAll, test } from "vitest";
import { berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { soak } from "../lib/soak.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

test("40 rounds of start, exec, list and stop leave the daemon and the host as they were", async () => {
  await using root = berthRoot();
  await soak(root, { rounds: 40, machines: 10 });
});
