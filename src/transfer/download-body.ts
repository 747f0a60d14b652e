import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";

const CHUNK = 2 ** 20;

/** What came of a download: on the disk, and its SHA-256 as far as it came. */
export class DownloadBody implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #path: string;
  #hash: Hash = createHash("sha256");
  size = 0;
  /** Of the whole, as the server said. */
  length: number | null = null;

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /** Of what is in the file the first `stored` bytes count. */
  static async open(path: string, stored: number, signal: AbortSignal): Promise<DownloadBody> {
    const body = new DownloadBody(await open(path, "r+"), path);
    try {
      await body.#readBack(stored, signal);
      return body;
    } catch (error) {
      await body.#file.close();
      throw error;
    }
  }

  async #readBack(stored: number, signal: AbortSignal): Promise<void> {
    await this.#file.truncate(stored);
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    while (this.size < stored) {
      signal.throwIfAborted();
      const { bytesRead } = await this.#file.read(buffer, 0, Math.min(CHUNK, stored - this.size), this.size);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.size += bytesRead;
    }
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash("sha256");
    this.size = 0;
  }

  /** @throws BerthError that says whose fault it is: no download's */
  async write(chunk: Buffer): Promise<void> {
    try {
      for (let at = 0; at < chunk.length; ) {
        const { bytesWritten } = await this.#file.write(chunk, at, chunk.length - at, this.size + at);
        at += bytesWritten;
      }
    } catch (error) {
      throw this.#full(error);
    }
    this.#hash.update(chunk);
    this.size += chunk.length;
  }

  async sync(): Promise<void> {
    await this.#file.datasync().catch((error: unknown) => {
      throw this.#full(error);
    });
  }

  digest(): string {
    return this.#hash.digest("hex");
  }

  #full(error: unknown): BerthError {
    const full = ["ENOSPC", "EDQUOT"].includes(errorCode(error) ?? "");
    const why = full ? "its file system is full" : (error as Error).message;
    return new BerthError(`the download can't be written to ${dirname(this.#path)}: ${why}`, {
      hint: full ? "make room there" : undefined,
      cause: error,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

export async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r+");
  await file.datasync();
}
