import { runCommand } from "../host/command.ts";

export interface TreeSize {
  /** Names. */
  readonly entries: number;
  /** Those that are the same file are one. */
  readonly inodes: number;
  /** Of 512 bytes, on the disk. */
  readonly blocks: number;
}

/** What is there now, by find(1), which goes through no link. Null: that can't be told. @throws the signal's reason */
export async function measureTree(
  directory: string,
  signal: AbortSignal,
  oneFileSystem = false,
): Promise<TreeSize | null> {
  let [entries, inodes, blocks, rest] = [0, 0, 0, ""];
  const onOutput = (chunk: Buffer): void => {
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = lines.pop() ?? "";
    entries += lines.length;
    for (const line of lines) {
      const [type, links, size] = line.split(" ");
      // None has what was removed while it was looked at.
      const share = type === "d" ? 1 : 1 / Math.max(1, Number(links));
      inodes += share;
      blocks += Number(size) * share;
    }
  };
  const words = [".", ...(oneFileSystem ? ["-xdev"] : []), "-printf", "%y %n %b\\n"];
  const { status } = await runCommand("find", words, { cwd: directory, signal, onOutput });
  return /^ended with status [01]$/.test(status) ? { entries, inodes, blocks } : null;
}
