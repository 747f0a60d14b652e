import type { ErrorKind } from "../errors.ts";
import type { ProcessId } from "../host/process-id.ts";

/**
 * What the daemon or a verb and its copier say to each other: one request, JSON on the copier's stdin, whose end means
 * that nobody waits any more; then messages on its stdout, JSON, one a line.
 */
export interface CopyRequest {
  readonly machine: string;
  readonly leader: ProcessId;
  /** The host's ids that are the machine's; null: all are. */
  readonly range: IdRange | null;
  readonly direction: "to" | "from";
  /** Absolute, each on its side. */
  readonly source: string;
  readonly target: string;
  readonly replace: boolean;
}

export interface IdRange {
  readonly base: number;
  readonly size: number;
}

/** So far, or altogether. */
export interface CopyCounts {
  /** Of data that were read: holes don't count. */
  readonly bytes: number;
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  /** Devices, fifos, sockets, and what the kernel makes up. */
  readonly skipped: number;
}

export type CopierMessage =
  | { readonly say: "progress"; readonly counts: CopyCounts; readonly size: number | null }
  | { readonly say: "warning"; readonly text: string }
  | { readonly say: "done"; readonly counts: CopyCounts }
  | { readonly say: "failed"; readonly message: string; readonly hint: string | null; readonly kind: ErrorKind | null };

/** The verb by which a copier is started; it is no part of the command line. */
export const COPIER_VERB = "internal-copy";
