import { readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import { isAlive, type ProcessId, processId } from "../host/process-id.ts";
import { writeText } from "../host/write-text.ts";
import { monotonic } from "../sys/clock.ts";
import type { MachineView } from "./machine-view.ts";

/** What is true of all machines as long as that daemon lives: for a list, which then needs nothing but this file. */
interface Published {
  readonly daemon: ProcessId;
  readonly machines: readonly MachineView[];
}

/** What changes faster than this, ms, is not worth a file; but longer than LAST_MS nobody has to ask. */
const SETTLE_MS = 5;
const LAST_MS = 100;

function fileOf({ run }: Paths): string {
  return join(run, "machines.json");
}

/**
 * Keeps the file true: what has changed takes it away at once, and it is written when that settles. Who finds none asks the
 * daemon. It is for root; others ask anyway, as they are not told all.
 */
export class Publisher {
  readonly #file: string;
  readonly #views: () => readonly string[];
  readonly #daemon = processId(process.pid);
  #timer: NodeJS.Timeout | undefined;
  /** When it has to be written, ms of CLOCK_MONOTONIC. */
  #latest = 0;
  #closed = false;

  /** `views`: of the machines, as JSON. */
  constructor(paths: Paths, views: () => readonly string[]) {
    this.#file = fileOf(paths);
    this.#views = views;
  }

  /** Something has changed. */
  touch(): void {
    if (this.#closed) return;
    const now = monotonic();
    if (this.#timer === undefined) {
      this.#remove();
      this.#latest = now + LAST_MS;
      this.#timer = setTimeout(() => this.write(), SETTLE_MS);
    } else if (now + SETTLE_MS < this.#latest) this.#timer.refresh();
  }

  /** A disk that is full costs us the file. */
  write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      writeText(
        `${this.#file}.new`,
        `{"daemon":${JSON.stringify(this.#daemon)},"machines":[${this.#views().join(",")}]}`,
      );
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      this.#remove();
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
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
