/**
 * A tree of the probe that Volatile=yes can use: /bin is a link to usr/bin, the probe is /usr/bin/probe, and there is a
 * file `kept` in /opt, /usr and /var.
 *
 *   const tree = await mergedTree(join(root.machines, "own"));
 *   await root.run(tree, ["--volatile"], [MERGED_PROBE, "cwd"]);
 */
import { cpSync, mkdirSync, rmdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { probeTree } from "./probe.ts";

export const MERGED_PROBE = "/usr/bin/probe";

export async function mergedTree(at: string): Promise<string> {
  const tree = await probeTree({ at });
  mkdirSync(join(tree, "usr/bin"));
  cpSync(join(tree, "probe"), join(tree, "usr/bin/probe"));
  symlinkSync("usr/bin", join(tree, "bin"));
  rmdirSync(join(tree, "sbin"));
  for (const path of ["var/kept", "opt/kept", "usr/kept"]) {
    mkdirSync(join(tree, path, ".."), { recursive: true });
    writeFileSync(join(tree, path), "of the tree");
  }
  return tree;
}
