import { setTimeout as sleep } from "node:timers/promises";

/** ms in which all is removed whose removal was under way: a busy machine is late, and so is the kernel. */
const SETTLE_MS = 15_000;
/** If this process was away for all of that, what was to remove it was too. */
const LOOKS = 20;
const INTERVAL_MS = 20;

/** What `look` still finds when that has had its time to go away; empty as soon as it finds nothing. */
export async function settled(look: () => string[], within = SETTLE_MS): Promise<string[]> {
  const deadline = performance.now() + within;
  let left = look();
  for (let looks = 1; left.length > 0 && (looks < LOOKS || performance.now() < deadline); looks++) {
    await sleep(INTERVAL_MS);
    left = look();
  }
  return left;
}
