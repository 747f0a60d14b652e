import { fstatSync } from "node:fs";
import { errorCode } from "../../errors.ts";
import { O_PATH, O_RDONLY } from "../../sys/constants.ts";
import { seekTo } from "../../sys/copy-data.ts";
import { entriesOf, openBelow } from "../../sys/entries.ts";
import { closeQuietly, O_DIRECTORY } from "../../sys/files.ts";

const READ = O_RDONLY | O_DIRECTORY;

/** It has become something else meanwhile. */
const GONE = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

/** A directory of the copy, opened when something in it is to be changed. */
export class CopyDirectory implements Disposable {
  readonly #parent: CopyDirectory | null;
  readonly #name: Buffer;
  #fd: number;

  constructor(parent: CopyDirectory | null, name: Buffer, fd = -1) {
    this.#parent = parent;
    this.#name = name;
    this.#fd = fd;
  }

  get fd(): number {
    if (this.#fd < 0 && this.#parent !== null) this.#fd = openBelow(this.#parent.fd, this.#name, READ);
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  [Symbol.dispose](): void {
    if (this.#parent !== null && this.#fd >= 0) closeQuietly(this.#fd);
  }
}

/** All of them, however far it was read before. */
export function namesIn(fd: number): Buffer[] {
  seekTo(fd, 0);
  return [...entriesOf(fd)];
}

export function openIfThere(parent: number, name: Buffer): number | null {
  return unlessGone(() => openBelow(parent, name, O_PATH));
}

export function openDirectory(parent: number, name: Buffer): number | null {
  return unlessGone(() => openBelow(parent, name, READ));
}

export function isDirectoryAt(parent: number, name: Buffer): boolean {
  const fd = openIfThere(parent, name);
  if (fd === null) return false;
  try {
    return fstatSync(fd).isDirectory();
  } finally {
    closeQuietly(fd);
  }
}

function unlessGone(open: () => number): number | null {
  try {
    return open();
  } catch (error) {
    if (GONE.has(errorCode(error) ?? "")) return null;
    throw error;
  }
}
