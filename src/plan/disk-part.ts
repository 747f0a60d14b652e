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

/**
 * writable: it may be changed. recover: nothing in it is, but what its file system has not yet done of what it noted
 * before it was cut off. read-only: not even that.
 */
export type DiskAccess = "writable" | "recover" | "read-only";
