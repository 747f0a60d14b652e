import { readFileSync, statSync } from "node:fs";
import { errorCode } from "../errors.ts";

/**
 * What is made of a text file, made again when it is another one or has been written to: by its inode, size and times. For files
 * that a daemon looks at with every start. One that is not there, or not for us to read, is as an empty one.
 */
export class KeptFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  #version = "";
  #kept: T | undefined;

  constructor(path: string, parse: (text: string) => T) {
    this.#path = path;
    this.#parse = parse;
  }

  /** @throws the errno error of what else keeps it from being read (EMFILE, EIO) */
  read(): T {
    // Before it is read: what changes meanwhile is seen the next time.
    const version = this.#versionNow();
    if (this.#kept === undefined || version !== this.#version) {
      this.#kept = this.#parse(this.#text());
      this.#version = version;
    }
    return this.#kept;
  }

  #versionNow(): string {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    return stat === undefined ? "" : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeMs}:${stat.ctimeMs}`;
  }

  #text(): string {
    try {
      return readFileSync(this.#path, "utf8");
    } catch (error) {
      if (["ENOENT", "EACCES"].includes(errorCode(error) ?? "")) return "";
      throw error;
    }
  }
}
