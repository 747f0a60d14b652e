import { fstatSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { closeQuietly, isPath } from "../sys/files.ts";
import { isTerminal } from "../sys/terminal.ts";

/**
 * The three fds that a command in a machine gets as its stdin, stdout and stderr, by the names a plan has for them.
 * Takes them over. @throws BerthError for what may not come into a machine
 */
export function payloadStdio(fds: readonly number[]): ReadonlyMap<string, number> {
  try {
    if (fds.length !== 3) throw new BerthError(`three fds are needed, ${fds.length} came`, { kind: "InvalidArgs" });
    fds.forEach(check);
    return new Map(fds.map((fd, index) => [`stdio:${index}`, fd]));
  } catch (error) {
    for (const fd of fds) closeQuietly(fd);
    throw error;
  }
}

/** A directory would be a way out (the class of CVE-2024-21626), and a terminal could be typed into (TIOCSTI). */
function check(fd: number, index: number): void {
  const name = ["stdin", "stdout", "stderr"][index];
  const refused = isTerminal(fd) ? "a terminal" : isPath(fd) || fstatSync(fd).isDirectory() ? "a directory" : undefined;
  if (refused === undefined) return;
  throw new BerthError(`${name} is ${refused}, which a machine must not have`, { kind: "InvalidArgs" });
}
