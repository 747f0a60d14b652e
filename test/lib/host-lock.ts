import { setTimeout } from "node:timers/promises";
import { lockFile } from "../../src/exec/lock-file.ts";
import { closeQuietly } from "../../src/sys/files.ts";

/** .scripts/bench locks it too. Never unlinked, as flock(1) does not check that. */
const HOST_LOCK = "/run/lock/berth-tests";

/**
 * Waits until no other run of tests or benches uses this host: the leak check of one would see what another starts, and
 * a bench would time it. Returns how to unlock.
 */
export async function lockHost(): Promise<() => void> {
  for (let waiting = false; ; waiting = true) {
    const lock = lockFile(HOST_LOCK);
    if (lock !== null) return () => closeQuietly(lock);
    if (!waiting) console.error(`waiting for another run of berth's tests or benches, which holds ${HOST_LOCK}`);
    await setTimeout(500);
  }
}
