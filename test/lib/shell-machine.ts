/**
 * Machines whose init is a shell script, with the host's programs in /usr and the probe as /probe:
 *
 *   await shellMachine(root, "m", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done");
 *   await shellMachine(root, "m", ENDLESS, "[Exec]\nEphemeral=yes");      // more of its settings
 */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BerthRoot } from "./berth.ts";
import { probeTree } from "./probe.ts";

/** Ends with status 0 when it is asked to. */
export const ENDLESS = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done";

export async function shellMachine(root: BerthRoot, name: string, init = ENDLESS, settings = ""): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, name) });
  for (const link of ["bin", "lib", "lib64"]) symlinkSync(`usr/${link}`, join(tree, link));
  for (const place of ["mnt", "usr"]) mkdirSync(join(tree, place), { recursive: true });
  rmSync(join(tree, "sbin/init"), { force: true });
  writeFileSync(join(tree, "sbin/init"), `#!/bin/sh\n${init}\n`, { mode: 0o755 });
  root.settings(name, `[Files]\nBindReadOnly=/usr\n${settings}`);
  return tree;
}
