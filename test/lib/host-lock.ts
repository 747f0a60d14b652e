import { openSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { closeQuietly, tryLock } from "../../src/sys/files.ts";

/** .scripts/bench locks it too, by flock(1). Never unlinked, as that does not check it. */
const HOST_LOCK = "/run/lock/berth-tests";

/**
 * Waits until no other run of tests or benches uses this host: the leak check of one would see what another starts, and
 * a bench would time it. Returns how to unlock.
 */
export async function lockHost(): Promise<() => void> {
  const lock = openSync(HOST_LOCK, "a", 0o600);
  for (let waiting = false; ; waiting = true) {
    if (tryLock(lock, HOST_LOCK)) return () => closeQuietly(lock);
    if (!waiting) console.error(`waiting for another run of berth's tests or benches, which holds ${HOST_LOCK}`);
    await setTimeout(500);
  }
}
