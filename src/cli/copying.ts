import type { Command } from "commander";
import type { CopyOptions } from "../copy/copy.ts";
import type { CopyCounts } from "../copy/protocol.ts";
import { visible } from "../spec/quote.ts";
import { say } from "./output.ts";
import { startProgress } from "./progress.ts";
import { formatBytes } from "./sizes.ts";
import type { Context } from "./verb.ts";

/** What copy-to and copy-from have in common. */
export interface CopyWords {
  readonly force?: boolean;
  readonly quiet?: boolean;
}

export function addCopyOptions(command: Command): Command {
  return command
    .option("--force", "replace files and links that are there already")
    .option("-q, --quiet", "show no progress, and don't say what was left out");
}

export async function withProgress(
  { fancy, env, signal }: Context,
  title: string,
  { force = false, quiet = false }: CopyWords,
  copy: (options: CopyOptions) => Promise<CopyCounts>,
): Promise<void> {
  const progress = fancy && !quiet ? startProgress(process.stderr, { fancy, title, env }) : undefined;
  const warnings: string[] = [];
  try {
    await copy({
      replace: force,
      signal,
      onProgress: (counts, size) => progress?.update(stateOf(counts, size)),
      onWarning: (text) => warnings.push(text),
    });
  } finally {
    progress?.end();
    if (!quiet) for (const text of warnings) say(`${visible(text)}\n`);
  }
}

function stateOf({ bytes, files }: CopyCounts, size: number | null) {
  const label = `copying, ${formatBytes(bytes)}`;
  if (size !== null && size > 0) return { label, fraction: bytes / size };
  return { label, fraction: null, detail: `${files} files` };
}
