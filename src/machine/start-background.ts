import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isAlive } from "../host/process-id.ts";
import { monotonic } from "../sys/clock.ts";
import { closeQuietly, memfdCreate } from "../sys/files.ts";
import { recordsDirectory } from "./places.ts";
import { type MachineRecord, readRecord } from "./record.ts";

/** An init that counts as ready because it runs is not, if it ends within this time. */
const AT_ONCE_MS = 250;
/** How long `berth run` may take to end its machine and clean up. */
const PATIENCE_MS = 10_000;

export interface BackgroundOptions {
  readonly name: string;
  /** Words of `berth run` after its own options: how the machine is started. */
  readonly runWords: readonly string[];
  readonly paths: Paths;
  readonly signal: AbortSignal;
  /** Its init says or shows that it is ready, other than by running. */
  readonly saysReady: boolean;
  /** How long the machine may take to be ready, ms. */
  readonly timeout: number;
  /** Lines of `berth run`: warnings, and what makes the machine weaker. */
  readonly onSaid: (lines: readonly string[]) => void;
  /** What its init says it does. */
  readonly onStatus: (status: string) => void;
}

/**
 * Starts `berth run` for a machine in a session of its own, and resolves when the machine is ready. What the start
 * complains about becomes the error. When it is aborted or takes too long the machine is stopped again.
 */
export async function startInBackground(options: BackgroundOptions): Promise<MachineRecord> {
  const { name, paths } = options;
  // A file that has no name is in nobody's way, and goes when both have ended, however they do.
  const output = memfdCreate(`berth-start-${name}`);
  const words = ["run", "--boot", `--machine=${name}`, "--console=passive", ...options.runWords];
  const child = spawn(process.execPath, [process.argv[1] ?? "", ...words], {
    detached: true,
    stdio: ["ignore", output, output],
    env: {
      ...process.env,
      BERTH_ETC: paths.etc,
      BERTH_RUN: paths.run,
      BERTH_MACHINES: paths.machines,
      BERTH_CACHE: paths.cache,
    },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("exit", (code) => resolve(code ?? 1)).once("error", reject);
  });
  try {
    const ready = await Promise.race([whenReady(options), ended]);
    const outcome = typeof ready === "number" || options.saysReady ? ready : await whetherItLasts(ready, ended);
    const lines = readFileSync(`/proc/self/fd/${output}`, "utf8")
      .split("\n")
      .filter((line) => line !== "");
    if (typeof outcome !== "number") {
      child.unref();
      options.onSaid(lines);
      return outcome;
    }
    const hint = lines.find((line) => line.startsWith("hint: "))?.slice("hint: ".length);
    const message = lines.filter((line) => !line.startsWith("hint: ")).join("\n");
    const nothing = `machine ${name} ended with status ${outcome} before it was ready`;
    throw new BerthError(message.replace(/^berth: /, "") || nothing, { hint });
  } catch (error) {
    if (child.exitCode === null) await end(child, ended);
    throw error;
  } finally {
    closeQuietly(output);
  }
}

/** The record of a machine that goes on for a moment, or the exit status of the one that does not. */
async function whetherItLasts(record: MachineRecord, ended: Promise<number>): Promise<MachineRecord | number> {
  const status = await Promise.race([ended, sleep(AT_ONCE_MS)]);
  return status ?? (isAlive(record.leader) ? record : await ended);
}

/** The first signal asks the machine to stop, or its launch; the second one does not wait for that. Nothing is left then. */
async function end(child: ChildProcess, ended: Promise<number>): Promise<void> {
  child.kill("SIGTERM");
  child.kill("SIGINT");
  const patience = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
  await ended;
  clearTimeout(patience);
}

async function whenReady({ name, paths, signal, timeout, onStatus }: BackgroundOptions): Promise<MachineRecord> {
  const deadline = monotonic() + timeout;
  let status: string | null = null;
  for (;;) {
    signal.throwIfAborted();
    const record = readRecord(name, paths);
    if (record?.ready === true) return record;
    if (typeof record?.status === "string" && record.status !== status) onStatus(record.status);
    status = record?.status ?? null;
    if (monotonic() > deadline)
      throw new BerthError(`machine ${name} was not ready within ${timeout / 1000} s`, {
        hint: `berth run -b -M ${name} shows what its console says`,
      });
    await changed(recordsDirectory(paths), name);
  }
}

/** Resolves when something about a machine's record changed, or after 50 ms: a watch can only begin once there is one. */
async function changed(directory: string, name: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(finish, 50);
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(join(directory, name), finish);
      watcher.on("error", finish);
    } catch {
      // not there yet
    }
    function finish(): void {
      clearTimeout(timer);
      watcher?.close();
      resolve();
    }
  });
}
