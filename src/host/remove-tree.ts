import { spawn, spawnSync } from "node:child_process";
import { lstatSync, readFileSync, realpathSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { isBtrfs } from "../sys/btrfs.ts";
import { parseMountinfo } from "./mountinfo.ts";

const ENVIRONMENT = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };

/**
 * Removes a directory that others had a say in, with all in it, or what else is there; fine if nothing is. Never goes
 * into a mount, should one have got there, nor through a link. rm(1) never makes a path longer than the kernel takes nor
 * nests calls as deep as the directories are, as node:fs does; in a session of its own ^C does not end it halfway.
 * @throws BerthError
 */
export function removeTree(path: string): void {
  const { status, error, stderr } = spawnSync("setsid", rmWords(path), {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    env: ENVIRONMENT,
  });
  if (status !== 0) throw notRemoved(path, error?.message ?? stderr);
}

/** The same for what may be large: nothing else has to wait meanwhile. */
export async function removeLargeTree(path: string): Promise<void> {
  const child = spawn("setsid", rmWords(path), { stdio: ["ignore", "ignore", "pipe"], env: ENVIRONMENT });
  const said: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
  const problem = await new Promise<string | null>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (status) => resolve(status === 0 ? null : Buffer.concat(said).toString()));
  });
  if (problem !== null) throw notRemoved(path, problem);
}

/** To rm(1) a subvolume of btrfs is another file system, and whoever is root in a machine can make some. */
function rmWords(path: string): string[] {
  return ["--wait", "rm", "-rf", ...(mayHaveSubvolumes(path) ? [] : ["--one-file-system"]), "--", path];
}

function mayHaveSubvolumes(path: string): boolean {
  try {
    if (lstatSync(path).isSymbolicLink() || !isBtrfs(path)) return false;
    const real = realpathSync(path);
    return !parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8")).some(({ point }) =>
      `${point}/`.startsWith(`${real}/`),
    );
  } catch {
    return false;
  }
}

function notRemoved(path: string, said: string): BerthError {
  return new BerthError(`cannot remove ${path}: ${said.trim().split("\n").at(-1) || "rm was killed"}`);
}
