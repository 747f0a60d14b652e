import { existsSync, readFileSync, readlinkSync } from "node:fs";

/**
 * The host's own files, as the readers of this directory see them. A seam: tests hand in recorded hosts. For
 * trusted paths of the host only, never for a path inside a tree (see in-root.ts).
 */
export interface HostFiles {
  /** Whole text; null where there is no such file or it may not be read. */
  text(path: string): string | null;
  /** Target of a symbolic link; null where there is none. */
  link(path: string): string | null;
  exists(path: string): boolean;
}

function orNull(read: () => string): string | null {
  try {
    return read();
  } catch {
    // Most of these files are optional: which errno it was tells the reader nothing more.
    return null;
  }
}

export const hostFiles: HostFiles = {
  // An exception costs ten times what a look-up does, and on most hosts some of the files are absent.
  text: (path) => (existsSync(path) ? orNull(() => readFileSync(path, "utf8")) : null),
  link: (path) => orNull(() => readlinkSync(path)),
  exists: existsSync,
};

/** An integer from /proc/sys by its path (`user/max_user_namespaces`); null where this kernel has no such setting. */
export function sysctl(files: HostFiles, path: string): number | null {
  const text = files.text(`/proc/sys/${path}`)?.trim();
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : null;
}

/** Words of a one-line list such as cgroup.controllers. */
export function words(text: string | null): readonly string[] {
  return text === null ? [] : text.split(/\s+/).filter((word) => word !== "");
}
