import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import type { OnCopied } from "./copy-progress.ts";
import type { FoundImage } from "./discover.ts";
import { shareBlocks } from "./drivers/raw.ts";
import { shareDisk } from "./hold-tree.ts";

/** Of one that a machine may change meanwhile only a copy of one moment is a disk: by shared blocks, as a power cut would have left it. */
export async function copyDisk(
  paths: Paths,
  from: FoundImage,
  to: string,
  signal: AbortSignal,
  progress?: OnCopied,
): Promise<void> {
  let busy: BerthError;
  try {
    using _unchanged = shareDisk(from, paths);
    return await from.driver.copy(from.path, to, signal, progress);
  } catch (error) {
    if (!(error instanceof BerthError) || error.kind !== "Busy") throw error;
    busy = error;
  }
  if (!(await shareBlocks(from.path, to, signal))) throw busy;
}
