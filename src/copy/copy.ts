import { type ChildProcess, spawn } from "node:child_process";
import { posix } from "node:path";
import { BerthError } from "../errors.ts";
import { clientProgram } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { type MachineRecord, readPlan } from "../machine/record.ts";
import { rangeOf } from "../plan/live-mounts.ts";
import { quote } from "../spec/quote.ts";
import { COPIER_VERB, type CopierMessage, type CopyCounts, type CopyRequest } from "./protocol.ts";

export interface CopyOptions {
  /** Files and links that are there already are replaced; directories are merged in any case. */
  readonly replace: boolean;
  readonly signal: AbortSignal;
  /** Some ten times a second. `size`: bytes of the one file that is copied, where it is one. */
  readonly onProgress?: (counts: CopyCounts, size: number | null) => void;
  /** What has been left out, and why; a line each, made printable. */
  readonly onWarning?: (text: string) => void;
}

/** How long a copier may take to end by itself, and then for SIGKILL to end it. */
const PATIENCE_MS = 2000;
/** Of its stderr, where only what must not happen is said. */
const STDERR_MAX = 4096;

/** Copies a file, link or directory of the host into a running machine, where it becomes `target`. Both are absolute paths. */
export function copyTo(
  machine: MachineRecord,
  source: string,
  target: string,
  options: CopyOptions,
  paths: Paths,
): Promise<CopyCounts> {
  return copy(machine, { direction: "to", source, target }, options, paths);
}

/** The other way round. */
export function copyFrom(
  machine: MachineRecord,
  source: string,
  target: string,
  options: CopyOptions,
  paths: Paths,
): Promise<CopyCounts> {
  return copy(machine, { direction: "from", source, target }, options, paths);
}

async function copy(
  { name, leader }: MachineRecord,
  what: Pick<CopyRequest, "direction" | "source" | "target">,
  options: CopyOptions,
  paths: Paths,
): Promise<CopyCounts> {
  for (const path of [what.source, what.target])
    if (!posix.isAbsolute(path) || path.includes("\0"))
      throw new BerthError(`${quote(path)} is no absolute path`, { kind: "InvalidArgs" });
  const range = rangeOf(readPlan(name, paths));
  const { replace, signal } = options;
  signal.throwIfAborted();
  return new Copier({ ...what, machine: name, leader, range, replace }, options).end;
}

/** One copier process, from its start to its end. */
class Copier {
  readonly end: Promise<CopyCounts>;
  readonly #child: ChildProcess;
  readonly #options: CopyOptions;
  #last: CopierMessage | undefined;
  #stderr = "";

  constructor(request: CopyRequest, options: CopyOptions) {
    this.#options = options;
    // In a session of its own: ^C is for us, and then it is told.
    this.#child = spawn(process.execPath, [clientProgram(), COPIER_VERB], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: {},
    });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on("error", () => undefined); // it has ended already, which is seen below
    stdin?.write(`${JSON.stringify(request)}\n`);
    let rest = "";
    stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#hear(JSON.parse(line));
    });
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(0, STDERR_MAX);
    });
    this.end = this.#waitFor();
  }

  #hear(message: CopierMessage): void {
    if (message.say === "progress") this.#options.onProgress?.(message.counts, message.size);
    else if (message.say === "warning") this.#options.onWarning?.(message.text);
    else this.#last = message;
  }

  async #waitFor(): Promise<CopyCounts> {
    const { signal } = this.#options;
    const timers: NodeJS.Timeout[] = [];
    let abort = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#child.once("error", reject).once("close", () => resolve());
        abort = () => {
          // Its stdin ends, which it looks for between two pieces of work.
          this.#child.stdin?.end();
          timers.push(setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS));
          timers.push(setTimeout(() => resolve(this.#leave()), 2 * PATIENCE_MS));
        };
        if (signal.aborted) abort();
        else signal.addEventListener("abort", abort);
      });
    } finally {
      signal.removeEventListener("abort", abort);
      for (const timer of timers) clearTimeout(timer);
    }
    if (this.#last?.say === "done") return this.#last.counts;
    signal.throwIfAborted();
    throw this.#failure();
  }

  /** It waits for the machine's own file system, which even SIGKILL does not end; the end of the machine does. */
  #leave(): void {
    const { stdin, stdout, stderr } = this.#child;
    for (const stream of [stdin, stdout, stderr]) stream?.destroy();
    this.#child.unref();
  }

  #failure(): BerthError {
    if (this.#last?.say === "failed") {
      const { message, hint, kind } = this.#last;
      return new BerthError(message, { hint: hint ?? undefined, kind: kind ?? undefined });
    }
    const { exitCode, signalCode } = this.#child;
    const how = signalCode === null ? `ended with status ${exitCode}` : `was killed by ${signalCode}`;
    const said = this.#stderr.trim().split("\n").at(-1) ?? "";
    return new BerthError(`the process that copies ${how}${said === "" ? "" : `: ${said}`}`);
  }
}
