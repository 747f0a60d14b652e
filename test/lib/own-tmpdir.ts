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
import { lockHost } from "./host-lock.ts";

const OWN_TMPDIR_PREFIX = "berth-test-";

export default async function setup(): Promise<() => void> {
  const outer = process.env["TMPDIR"];
  // Every project with this set-up calls it, all before the first test: the first one does it for all.
  if (outer?.includes(OWN_TMPDIR_PREFIX)) return () => {};
  const own = mkdtempSync(join(tmpdir(), OWN_TMPDIR_PREFIX));
  // mkdtemp gives 0700, but the root of a machine's range has to reach the trees in it.
  chmodSync(own, 0o755);
  process.env["TMPDIR"] = own;
  const unlock = await lockHost();
  return () => {
    unlock();
    if (outer === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = outer;
    if (process.env["KEEP"]) console.log(`KEEP: ${own}`);
    else rmSync(own, { recursive: true, force: true });
  };
}
