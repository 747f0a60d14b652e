/** A soak of the daemon. */
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

test("1000 rounds of 5 or all of 50 machines leave the daemon and the host as they were", async () => {
  await using root = berthRoot();
  await soak(root, { rounds: 1000, machines: 50 });
});
