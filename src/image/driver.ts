import type { OnCopied } from "./copy-progress.ts";
import type { ImageType, ImageUsage } from "./image.ts";

/** What a driver knows of an image at once, without looking at all of it. */
export interface ImageState extends Partial<ImageUsage> {
  readonly readOnly: boolean;
  readonly created: number | null;
  readonly modified: number | null;
  /** What a snapshot of it says it comes from, and what it itself comes from. */
  readonly identity?: string;
  readonly parentIdentity?: string;
  /** Directories that it shares with others, the topmost first. */
  readonly layers?: readonly string[];
}

/** Whoever runs from an image and can be held still. */
export interface Still {
  /** Whether there is somebody. */
  isNeeded(): boolean;
  during(act: () => Promise<void>): Promise<void>;
}

/**
 * One way to keep images. Paths are those of an image, or of one that is being made in a workspace: names, locks and
 * what appears when are the store's business.
 */
export interface Driver {
  readonly name: string;
  /** What its images are, as the bus says it. */
  readonly type: ImageType;
  /** Behind the name of an image: `.raw`, or nothing. */
  readonly suffix: string;
  /** Why this one here, and what that means: a sentence's end. `obstacle`: why it can't become a layer now. */
  why(fsType: string, obstacle?: string): string;
  read(path: string): ImageState;
  /** Whether nobody could write to it, marked read-only or not. */
  isNeverWritten?(path: string): boolean;
  /** Counts what lies on the disk. */
  measure(path: string, signal: AbortSignal): Promise<number>;
  /** Of that what no other image shares, where the driver shares anything. */
  measureOwn?(path: string, signal: AbortSignal): Promise<number>;
  /** Makes an empty one, to be filled. */
  create(path: string): void;
  /** Makes `to` a copy of `from`, with owners, times, links, holes, ACLs and extended attributes. */
  copy(from: string, to: string, signal: AbortSignal, progress?: OnCopied): Promise<void>;
  /**
   * The same of one moment, also while a machine writes to `from`: it does not during what `still` is given, which is to
   * take as little time as it can.
   */
  snapshot(from: string, to: string, still: Still, signal: AbortSignal, progress?: OnCopied): Promise<void>;
  /** Makes removing what nobody needs any more quick, where it can; what is left is removed file by file. */
  discard?(path: string): void;
  /** @throws BerthError of kind NotSupported where there is no such mark */
  setReadOnly(path: string, readOnly: boolean): void;
  /** `limit`: bytes; null takes it away. @throws BerthError of kind NotSupported */
  setLimit(path: string, limit: number | null): void;
}
