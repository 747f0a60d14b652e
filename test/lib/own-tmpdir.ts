/**
 * Gives the tests that look at the whole host the host to themselves, as far as other runs of these tests go, and a
 * temporary directory of their own (os.tmpdir(), TMPDIR), so that the leak check can say of every entry in it that a
 * test left it, whatever else runs on this machine.
 *
 * vitest runs this file itself (globalSetup in vitest.config.ts). KEEP=1 keeps the directory and says where it is.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { lockFile, unlinkLocked } from "../../src/exec/lock-file.ts";

const OWN_TMPDIR_PREFIX = "berth-test-";
const HOST_LOCK = "/run/lock/berth-tests";

export default async function setup(): Promise<() => void> {
  const outer = process.env["TMPDIR"];
  // Every project with this set-up calls it, all before the first test: the first one does it for all.
  if (outer?.includes(OWN_TMPDIR_PREFIX)) return () => {};
  const own = mkdtempSync(join(tmpdir(), OWN_TMPDIR_PREFIX));
  // mkdtemp gives 0700, but the root of a machine's range has to reach the trees in it.
  chmodSync(own, 0o755);
  process.env["TMPDIR"] = own;
  const lock = await lockHost();
  return () => {
    unlinkLocked(HOST_LOCK, lock);
    if (outer === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = outer;
    if (process.env["KEEP"]) console.log(`KEEP: ${own}`);
    else rmSync(own, { recursive: true, force: true });
  };
}

/** The leak check of one run would see the cgroups and processes of another. */
async function lockHost(): Promise<number> {
  for (let waiting = false; ; waiting = true) {
    const lock = lockFile(HOST_LOCK);
    if (lock !== null) return lock;
    if (!waiting) console.log(`waiting for another run of these tests, which holds ${HOST_LOCK}`);
    await setTimeout(500);
  }
}
