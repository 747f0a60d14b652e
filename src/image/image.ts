import { BerthError } from "../errors.ts";
import { checkName } from "../spec/name.ts";
import { quote } from "../spec/quote.ts";

/** As org.freedesktop.machine1 calls them. */
export type ImageType = "directory" | "subvolume" | "raw";

/** Bytes on the disk; null: not known, or there is none. */
export interface ImageUsage {
  readonly usage: number | null;
  readonly limit: number | null;
  /** Of these what no other image shares. */
  readonly usageExclusive: number | null;
  readonly limitExclusive: number | null;
}

export interface ImageInfo extends ImageUsage {
  readonly name: string;
  readonly path: string;
  readonly type: ImageType;
  readonly readOnly: boolean;
  /** ms since the epoch. Null: its file system does not say. */
  readonly created: number | null;
  /** Null for trees: nothing says when a file in one was last changed. */
  readonly modified: number | null;
  /** The image it shares its unchanged files with. */
  readonly parent: string | null;
  /** Directories that it may share with others, the topmost first. */
  readonly layers: readonly string[];
  /** What keeps it, and why that: a sentence's end. */
  readonly driver: string;
  readonly why: string;
}

/** The host's own tree, to machinectl(1). */
export const HOST_IMAGE = ".host";

/** What berth and systemd have in a store beside images: layers, ledgers, locks, unfinished work. */
const NO_IMAGES = /^\.(berth-|#)/;

/** Images that clean removes, and that are listed only when asked for. */
export function isHidden(name: string): boolean {
  return name.startsWith(".");
}

/** Whether an entry of the store may be an image: a machine's name, or one behind a dot. */
export function isImageName(name: string): boolean {
  if (checkName(name) === undefined) return true;
  return isHidden(name) && !NO_IMAGES.test(name) && name !== HOST_IMAGE && checkName(name.slice(1)) === undefined;
}

export function noSuchImage(name: string, hint: string | undefined): BerthError {
  return new BerthError(`no image ${quote(name)}`, { hint, kind: "NoSuchImage" });
}
