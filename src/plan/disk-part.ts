/** A partition of a disk image, or all of one that has none: what a start mounts of it. */
export interface DiskPart {
  /** Null: the image itself. */
  readonly number: number | null;
  /** Bytes in the image. */
  readonly offset: number;
  readonly size: number;
  /** The kernel's driver. */
  readonly fsType: string;
  /** Whatever the settings say: it is marked so, or can't be written to. */
  readonly readOnly: boolean;
}

/** One that is mounted below the root. */
export interface DiskMount extends DiskPart {
  readonly purpose: string;
  readonly target: string;
}

/** Read-only: whatever is left to be done in its journal, it is as it is. */
export type DiskAccess = "writable" | "read-only";
