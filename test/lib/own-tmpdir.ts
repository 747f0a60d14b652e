/**
 * Gives the tests that look at the whole host the host to themselves, as far as other runs of these tests go, and a
 * temporary directory of their own (os.tmpdir(), TMPDIR), so that the leak check can say of every entry in it that a
 * test left it, whatever else runs on this machine. Where several run at a time, each file has both to itself
 * (own-namespaces).
 *
 * vitest runs this file itself (globalSetup in vitest.config.ts). KEEP=1 keeps the directory and says where it is.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { lockHost } from "./host-lock.ts";

/** A host that systemd runs has one owner of its cgroups, which a namespace does not change: one file at a time there. */
export const OWN_NAMESPACES = !existsSync("/run/systemd/system");
/** Tells own-namespaces which of vitest's processes it is meant for. */
export const OWN_NAMESPACES_TITLE = "--title=berth-test-alone";

const CACHE = join(import.meta.dirname, "../.cache");
const OWN_TMPDIR_PREFIX = "berth-test-";

export default async function setup(): Promise<() => void> {
  const outer = process.env["TMPDIR"];
  // Every project with this set-up calls it, all before the first test: the first one does it for all.
  if (outer?.includes(OWN_TMPDIR_PREFIX)) return () => {};
  const own = mkdtempSync(join(tmpdir(), OWN_TMPDIR_PREFIX));
  process.env["TMPDIR"] = own;
  const node = process.execPath;
  if (OWN_NAMESPACES) {
    // What vitest starts its workers with. It can be told no other way.
    process.env["BERTH_TEST_NODE"] = node;
    process.execPath = join(import.meta.dirname, "own-namespaces");
  }
  // Trees are kept in it, and those that users of the host can come to are weaker (host/exposure.ts).
  mkdirSync(CACHE, { recursive: true });
  chmodSync(CACHE, 0o700);
  const unlock = await lockHost();
  return () => {
    unlock();
    process.execPath = node;
    if (outer === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = outer;
    if (process.env["KEEP"]) console.log(`KEEP: ${own}`);
    // The last workers end after this.
    else process.once("exit", () => [...startingWith(own), ...cgroups(own)].forEach(remove));
  };
}

/** `own`, and what own-namespaces made beside it. */
function startingWith(own: string): string[] {
  const names = readdirSync(dirname(own)).filter((name) => name.startsWith(basename(own)));
  return names.map((name) => join(dirname(own), name));
}

function cgroups(own: string): string[] {
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  return mounts
    .filter((line) => /^\S+ \S+ cgroup2? /.test(line))
    .flatMap((line) => startingWith(join(line.split(" ")[1] ?? "", basename(own))));
}

/** find(1): a cgroup's files can't be removed, and it goes without them, once the last process in it has died. */
function remove(path: string): void {
  const only = path.startsWith("/sys/") ? ["-type", "d"] : [];
  for (let tries = 0; tries < 20; tries++) {
    const { status } = spawnSync("find", [path, "-depth", ...only, "-delete"], { stdio: "ignore" });
    if (status === 0) return;
    spawnSync("sleep", ["0.1"]);
  }
  console.error(`left: ${path}`);
}
