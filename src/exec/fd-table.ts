import { closeQuietly } from "../sys/files.ts";

/** The fds of one launch by the names its plan uses; they are closed here and nowhere else. */
export class FdTable {
  readonly #fds = new Map<string, number>();

  /** Gives an fd its name in the plan, and takes it over. */
  name(name: string, fd: number): void {
    this.#fds.set(name, fd);
  }

  has(name: string): boolean {
    return this.#fds.has(name);
  }

  get(name: string): number {
    const fd = this.#fds.get(name);
    if (fd === undefined) throw new Error(`no fd is named ${name}`);
    return fd;
  }

  entries(): readonly (readonly [name: string, fd: number])[] {
    return [...this.#fds];
  }

  /** Gives an fd back to who will close it. */
  take(name: string): number {
    const fd = this.get(name);
    this.#fds.delete(name);
    return fd;
  }

  closeAllBut(isHeld: (name: string) => boolean): void {
    for (const [name, fd] of this.#fds) {
      if (isHeld(name)) continue;
      this.#fds.delete(name);
      closeQuietly(fd);
    }
  }
}
