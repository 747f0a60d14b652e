import { BerthError } from "../errors.ts";
import type { OnCopied } from "../image/copy-progress.ts";
import type { RollbackOptions } from "../image/snapshots/rollback.ts";
import type { SnapshotInfo } from "../image/snapshots/snapshot.ts";
import type { Snapshots } from "../image/snapshots/snapshots.ts";
import { runningFrom } from "../machine/still.ts";
import type { Manager } from "./manager.ts";
import { tellWhileWaiting } from "./power-off.ts";

export interface RollbackRequest {
  readonly name: string;
  /** Null: the newest that somebody asked for. */
  readonly snapshot: string | null;
  /** Back to what the last rollback has replaced. */
  readonly undo: boolean;
  /** A machine that runs is powered off before, and booted again after it; else that is refused. */
  readonly restart: boolean;
  /** How long it may take to end, ms; null: as its settings say. */
  readonly timeout: number | null;
}

export interface RolledBack {
  /** The snapshot that what was there is now. */
  readonly kept: string;
  readonly restarted: boolean;
}

/** Who waits for it. */
export interface SnapshotCaller {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly progress?: OnCopied | undefined;
}

/**
 * Snapshots of what machines run from: one operation a machine at a time, as everything that the manager does. What does the
 * work is loaded when there is some.
 */
export class ImageSnapshots {
  readonly #manager: Manager;
  #loaded: Promise<Snapshots> | undefined;

  constructor(manager: Manager) {
    this.#manager = manager;
  }

  async take(
    name: string,
    snapshot: string | null,
    comment: string,
    { signal, progress }: Omit<SnapshotCaller, "say">,
  ): Promise<SnapshotInfo> {
    const snapshots = await this.#snapshots();
    return this.#manager.operations.run(name, "snapshot", () =>
      snapshots.take(name, { name: snapshot, comment, signal, progress }),
    );
  }

  async list(name: string): Promise<readonly SnapshotInfo[]> {
    return (await this.#snapshots()).list(name);
  }

  async remove(name: string, snapshot: string): Promise<void> {
    await (await this.#snapshots()).remove(name, snapshot);
  }

  async confirm(name: string): Promise<readonly string[]> {
    return (await this.#snapshots()).confirm(name);
  }

  async rollBack(request: RollbackRequest, caller: SnapshotCaller): Promise<RolledBack> {
    const { name, snapshot, undo, restart, timeout } = request;
    const snapshots = await this.#snapshots();
    const { path } = snapshots.find(name);
    let restarted = false;
    const stop = async (): Promise<void> => {
      for (const machine of this.#machinesOf(name, path)) {
        if (machine !== name) throw isOthers(name, machine);
        if (!restart) throw isRunning(machine);
        await tellWhileWaiting(machine, this.#end(machine, timeout), caller.say);
        restarted = true;
      }
    };
    // Before anything is copied.
    if (!restart) await stop();
    const options: RollbackOptions = { signal: caller.signal, progress: caller.progress, stop };
    let kept: string;
    try {
      kept = await this.#manager.operations.run(name, "rollback", () =>
        undo ? snapshots.undo(name, options) : snapshots.rollBack(name, snapshot, options),
      );
    } finally {
      if (restarted) await this.#start(name, caller);
    }
    return { kept, restarted };
  }

  /** An init that can't be asked, or does not do it, keeps nobody from going back: what it leaves is replaced. */
  async #end(machine: string, timeout: number | null): Promise<void> {
    try {
      await this.#manager.powerOff(machine, true, timeout);
    } catch {
      await this.#manager.terminate(machine).catch((error: unknown) => {
        // Killed by powerOff, when it took too long.
        if (!(error instanceof BerthError) || error.kind !== "NoSuchMachine") throw error;
      });
    }
  }

  /** What runs from an image, or is about to. */
  #machinesOf(name: string, path: string): readonly string[] {
    const alive = this.#manager.list().flatMap((view) => (view.name === name && view.state !== "failed" ? [name] : []));
    return [...new Set([...alive, ...runningFrom(path, this.#manager.paths).map((machine) => machine.name)])];
  }

  /** Also where the rollback failed after the machine was stopped: it goes on with what there is. */
  async #start(name: string, { say }: SnapshotCaller): Promise<void> {
    const { signal } = new AbortController();
    await this.#manager.start(name, { signal, timeout: null, say, onStatus: () => undefined });
  }

  #snapshots(): Promise<Snapshots> {
    this.#loaded ??= import("../image/snapshots/snapshots.ts").then(({ openSnapshots }) =>
      openSnapshots(this.#manager.paths),
    );
    return this.#loaded;
  }
}

/** A throw-away copy, or one with another name. */
function isOthers(image: string, machine: string): BerthError {
  return new BerthError(`image ${image} is in use: machine ${machine} runs from it`, {
    hint: `berth poweroff ${machine} stops it`,
    kind: "Busy",
  });
}

function isRunning(name: string): BerthError {
  return new BerthError(`machine ${name} is running`, {
    hint: "--restart powers it off before and boots it again",
    kind: "Busy",
  });
}
