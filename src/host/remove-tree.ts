import { spawnSync } from "node:child_process";
import { BerthError } from "../errors.ts";

const ENVIRONMENT = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };

/**
 * Removes a directory that others had a say in, with all in it, or what else is there; fine if nothing is. Never goes
 * into a mount, should one have got there, nor through a link. rm(1) never makes a path longer than the kernel takes nor
 * nests calls as deep as the directories are, as node:fs does; in a session of its own ^C does not end it halfway.
 * @throws BerthError
 */
export function removeTree(path: string): void {
  const { status, error, stderr } = spawnSync("setsid", ["--wait", "rm", "-rf", "--one-file-system", "--", path], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    env: ENVIRONMENT,
  });
  if (status === 0) return;
  const said = error?.message ?? stderr.trim().split("\n").at(-1);
  throw new BerthError(`cannot remove ${path}: ${said || "rm was killed"}`);
}
