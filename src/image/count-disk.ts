import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";

/**
 * Bytes on the disk of a tree or several, hard links once, by du(1): also while a machine changes it. `all`: what is mounted in it
 * counts as well, which on btrfs subvolumes are taken for.
 */
export async function countDisk(trees: string | readonly string[], signal: AbortSignal, all = false): Promise<number> {
  const paths = typeof trees === "string" ? [trees] : trees;
  const sums: number[] = [];
  const { tail } = await runCommand("du", [all ? "-s" : "-sx", "--block-size=1", "--", ...paths], {
    signal,
    onLine: (line) => sums.push(...[/^(\d+)\D/.exec(line)?.[1]].filter((sum) => sum !== undefined).map(Number)),
  });
  // Of files that went meanwhile it complains, and its status says so too: the sum is good.
  if (sums.length < paths.length)
    throw new BerthError(`cannot count ${paths.join(", ")}: ${tail.at(-1) ?? "du said nothing"}`);
  return sums.reduce((sum, each) => sum + each, 0);
}
