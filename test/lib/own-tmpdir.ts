/**
 * Gives the tests that look at the whole host the host to themselves, as far as other runs of these tests go, and a
 * temporary directory of their own (os.tmpdir(), TMPDIR), so that the leak check can say of every entry in it that a
 * test left it, whatever else runs on this machine.
 *
 * vitest runs this file itself (globalSetup in vitest.config.ts). KEEP=1 keeps the directory and says where it is.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockHost } from "./host-lock.ts";

const CACHE = join(import.meta.dirname, "../.cache");
const OWN_TMPDIR_PREFIX = "berth-test-";

export default async function setup(): Promise<() => void> {
  const outer = process.env["TMPDIR"];
  // Every project with this set-up calls it, all before the first test: the first one does it for all.
  if (outer?.includes(OWN_TMPDIR_PREFIX)) return () => {};
  const own = mkdtempSync(join(tmpdir(), OWN_TMPDIR_PREFIX));
  process.env["TMPDIR"] = own;
  // Trees are kept in it, and those that users of the host can come to are weaker (host/exposure.ts).
  mkdirSync(CACHE, { recursive: true });
  chmodSync(CACHE, 0o700);
  const unlock = await lockHost();
  return () => {
    unlock();
    if (outer === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = outer;
    if (process.env["KEEP"]) console.log(`KEEP: ${own}`);
    else rmSync(own, { recursive: true, force: true });
  };
}
