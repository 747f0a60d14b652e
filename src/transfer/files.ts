import { randomBytes } from "node:crypto";
import { constants, fstatSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { linkFile, openNameless } from "../sys/entries.ts";
import { closeQuietly, duplicate } from "../sys/files.ts";

/** A file that is written beside its place, and gets its name when it is whole. */
export interface OutputFile extends Disposable {
  /** For the transfer, which closes it. */
  readonly fd: number;
  /** @throws the errno error of fsync(2) or rename(2) */
  commit(): void;
}

const NOTHING_MORE = { commit: () => undefined, [Symbol.dispose]: () => undefined };

/** `-` is standard input. For the transfer, which closes it. @throws the errno error of open(2), said better where there is no such file */
export function openInput(path: string): number {
  if (path === "-") return duplicate(0);
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    throw new BerthError(`there is no file ${quote(path)}`, { cause: error });
  }
  if (!fstatSync(fd).isDirectory()) return fd;
  closeQuietly(fd);
  throw new BerthError(`${quote(path)} is a directory`, { hint: "berth import-fs makes an image of one" });
}

/** For the transfer, which closes it. @throws the errno error of open(2), said better where there is no such directory */
export function openInputDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT") throw new BerthError(`there is no directory ${quote(path)}`, { cause: error });
    if (code !== "ENOTDIR") throw error;
    throw new BerthError(`${quote(path)} is no directory`, {
      hint: "berth import-tar makes an image of an archive, import-raw of a disk image",
      cause: error,
    });
  }
}

/** `-` is standard output. What is there already and is no regular file (a pipe, a device) is written to itself. */
export function openOutput(path: string): OutputFile {
  if (path === "-") return { fd: duplicate(1), ...NOTHING_MORE };
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat !== undefined && !stat.isFile()) {
    return { fd: openSync(path, constants.O_WRONLY), ...NOTHING_MORE };
  }
  requireDirectory(dirname(path));
  return new NewFile(path, (stat?.mode ?? 0o600) & 0o777);
}

/** It has no name until it is whole, where the file system has such files: then nothing is left of it, whoever is killed. */
class NewFile implements OutputFile {
  readonly fd: number;
  readonly #own: number;
  readonly #path: string;
  readonly #temporary: string;
  #hasName: boolean;

  constructor(path: string, mode: number) {
    this.#path = path;
    this.#temporary = join(dirname(path), `.${basename(path).slice(0, 200)}.${randomBytes(6).toString("hex")}`);
    const nameless = within(dirname(path), (directory) => openNameless(directory, constants.O_WRONLY, mode));
    this.#hasName = nameless === null;
    this.fd = nameless ?? openSync(this.#temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    this.#own = duplicate(this.fd);
  }

  commit(): void {
    fsyncSync(this.#own);
    if (!this.#hasName) this.#giveName();
    renameSync(this.#temporary, this.#path);
    this.#hasName = false;
  }

  /** As no link takes the place of a file that is there. */
  #giveName(): void {
    const name = Buffer.from(basename(this.#temporary));
    within(dirname(this.#temporary), (directory) => linkFile(this.#own, directory, name));
    this.#hasName = true;
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#own);
    if (this.#hasName) rmSync(this.#temporary, { force: true });
  }
}

function within<T>(path: string, act: (directory: number) => T): T {
  const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return act(directory);
  } finally {
    closeQuietly(directory);
  }
}

/** Else a message would name the file that it has until it is whole. */
function requireDirectory(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new BerthError(`there is no directory ${quote(path)}`, { hint: `mkdir -p ${path}` });
}
