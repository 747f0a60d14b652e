import { BerthError, errorCode } from "../errors.ts";
import { visible } from "../spec/quote.ts";
import type { OpenTree } from "./open-tree.ts";
import { readFileSystem } from "./tree-facts.ts";

/** What a file system says of itself when what it reads of the disk can't be right. */
const DAMAGED: ReadonlySet<string> = new Set(["EBADMSG", "EUCLEAN"]);

const REPAIRS: Readonly<Record<string, string>> = { xfs: "xfs_repair", btrfs: "btrfs check" };

/** Reads of an image that is open; where it can't be read as it is damaged, it is said of the image, and not of the file that was looked for. @throws BerthError */
export function readImage<T>(image: string, tree: OpenTree, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const code = errorCode(error) ?? (error instanceof Error ? errorCode(error.cause) : undefined);
    throw code !== undefined && DAMAGED.has(code) ? damaged(image, tree, code, error) : error;
  }
}

function damaged(image: string, tree: OpenTree, code: string, cause: unknown): BerthError {
  const { fsType } = tree.fileSystem() ?? readFileSystem(image);
  const isDisk = tree.storage.kind === "disk";
  const what = `the file system (${fsType}) ${isDisk ? "in" : "below"} ${visible(image)} is damaged (${code})`;
  const repair = `${REPAIRS[fsType] ?? `fsck.${fsType}`}${isDisk ? ", on a loop device of it (losetup)," : ""} may repair it`;
  return new BerthError(what, {
    hint: `${repair}; or go back to a snapshot of it (berth rollback), or to a backup. dmesg may say more`,
    cause,
  });
}
