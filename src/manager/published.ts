import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { isAlive, type ProcessId, processId } from "../host/process-id.ts";
import type { MachineView } from "./machine-view.ts";

/** What is true of all machines as long as that daemon lives: for a list, which then needs nothing but this file. */
interface Published {
  readonly daemon: ProcessId;
  readonly machines: readonly MachineView[];
}

/** What changes within this time, ms, is written once. */
const SETTLE_MS = 5;

function fileOf({ run }: Paths): string {
  return join(run, "machines.json");
}

/** Keeps the file true. It is for root; others ask the daemon, which does not tell them all. */
export class Publisher {
  readonly #file: string;
  readonly #views: () => readonly string[];
  readonly #daemon = processId(process.pid);
  #timer: NodeJS.Timeout | undefined;
  #written = Promise.withResolvers<void>();
  #closed = false;

  /** `views`: of the machines, as JSON. */
  constructor(paths: Paths, views: () => readonly string[]) {
    this.#file = fileOf(paths);
    this.#views = views;
  }

  /** Something has changed. */
  touch(): void {
    if (!this.#closed) this.#timer ??= setTimeout(() => this.#write(), SETTLE_MS);
  }

  /** Resolves when the file says what has changed until now. */
  async settled(): Promise<void> {
    if (this.#timer !== undefined) await this.#written.promise;
  }

  /** A disk that is full costs us the file: who finds none asks. */
  #write(): void {
    this.#timer = undefined;
    const { resolve } = this.#written;
    this.#written = Promise.withResolvers<void>();
    try {
      writeFileSync(
        `${this.#file}.new`,
        `{"daemon":${JSON.stringify(this.#daemon)},"machines":[${this.#views().join(",")}]}`,
        { mode: 0o600 },
      );
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      this.#remove();
    }
    resolve();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#written.resolve();
    this.#remove();
  }

  #remove(): void {
    try {
      rmSync(this.#file, { force: true });
    } catch {
      // A file system that has become read-only keeps the old one, and nothing can be done about it.
    }
  }
}

/** Null: no daemon tells. */
export function readPublished(paths: Paths): readonly MachineView[] | null {
  try {
    const { daemon, machines } = JSON.parse(readFileSync(fileOf(paths), "utf8")) as Published;
    return isAlive(daemon) ? machines : null;
  } catch {
    return null;
  }
}
