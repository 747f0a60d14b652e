/**
 * Trees with other inits than systemd, each a writable copy of its own. All but busybox take some 20 s the first time and
 * every two weeks.
 *
 *   const tree = await initTree("runit", join(root.machines, "m"));
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cachedTree } from "../../src/bootstrap/bootstrap.ts";
import { testPaths } from "./trees.ts";

const RECIPES = fileURLToPath(new URL("../inits", import.meta.url));

export type TreeKind = "sysvinit" | "openrc" | "openrc-init" | "runit" | "busybox";

export async function initTree(kind: TreeKind, at: string): Promise<string> {
  const { path } = await cachedTree({
    recipe: "inits",
    release: kind === "openrc-init" ? "openrc" : kind,
    paths: { ...testPaths("/nonexistent"), recipes: RECIPES },
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  execFileSync("cp", ["-a", "--reflink=auto", path, at]);
  // As openrc-init(8) says.
  if (kind === "openrc-init") {
    rmSync(join(at, "sbin/init"));
    symlinkSync("openrc-init", join(at, "sbin/init"));
  }
  if (kind === "busybox") configureBusybox(at);
  return at;
}

/** What Debian leaves to who uses it: an inittab, a script for the boot, and one for the end. */
function configureBusybox(tree: string): void {
  for (const [name, target] of Object.entries({ "sbin/init": "/bin/busybox", "bin/sh": "busybox" }))
    symlinkSync(target, join(tree, name));
  mkdirSync(join(tree, "etc/init.d"), { recursive: true });
  writeFileSync(join(tree, "etc/init.d/rcS"), "#!/bin/sh\necho booting\n", { mode: 0o755 });
  const lines = [
    "::sysinit:/etc/init.d/rcS",
    "::respawn:/bin/sh -c 'echo up; exec /bin/busybox sleep 100000'",
    "::shutdown:/bin/busybox echo shutting down",
  ];
  writeFileSync(join(tree, "etc/inittab"), `${lines.join("\n")}\n`);
}
