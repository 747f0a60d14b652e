import { type Ahead, StageProcess } from "../stage/stage-process.ts";

/**
 * Stages that are spawned before they are needed, and by another thread: a process begins when a CPU is free for it, which
 * takes some milliseconds when many machines start, and who spawns it waits.
 */
export class SpareStages {
  readonly #path: string;
  #ready: StageProcess | undefined;
  #coming: Promise<StageProcess> | undefined;
  #closed = false;
  /** What the last one made while it waited: the next one is most likely needed for the same. */
  #ahead: Ahead | undefined;

  /** `path`: the stage's executable. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Of the stages that are spawned from now on. */
  expect(ahead: Ahead): void {
    this.#ahead = ahead;
  }

  async #spawn(): Promise<StageProcess> {
    const stage = await StageProcess.spawnAside(this.#path);
    if (this.#ahead === undefined || this.#ahead.namespaces.length === 0) return stage;
    try {
      stage.makeAhead(this.#ahead);
      return stage;
    } catch (error) {
      await stage.discard(); // killed already
      throw error;
    }
  }

  #takeReady(): StageProcess | undefined {
    const ready = this.#ready;
    this.#ready = undefined;
    return ready;
  }

  /** The one that waits, or the next. Who asks before it has what the stage is to do gets it sooner. */
  take(): Promise<StageProcess> {
    const ready = this.#takeReady();
    const next = ready === undefined ? (this.#coming ?? this.#spawn()) : Promise.resolve(ready);
    if (ready === undefined) this.#coming = undefined;
    next.catch(() => undefined); // whoever took it hears of that when it is needed
    return next;
  }

  /** What was taken is not needed. */
  giveBack(stage: Promise<StageProcess>): void {
    void stage.then((back) => this.#keep(back)).catch(() => undefined);
  }

  /** For whoever needs one next; when nothing else is to be done. */
  refill(): void {
    setImmediate(() => {
      if (this.#closed || this.#ready !== undefined || this.#coming !== undefined) return;
      const coming = this.#spawn();
      this.#coming = coming;
      // No processes or fds to be had just now: who needs one will say so.
      coming.then((stage) => this.#arrived(coming, stage)).catch(() => this.#failed(coming));
    });
  }

  async #arrived(coming: Promise<StageProcess>, stage: StageProcess): Promise<void> {
    if (this.#coming !== coming) return; // it was taken
    this.#coming = undefined;
    await this.#keep(stage);
  }

  #failed(coming: Promise<StageProcess>): void {
    if (this.#coming === coming) this.#coming = undefined;
  }

  async #keep(stage: StageProcess): Promise<void> {
    if (this.#closed || this.#ready !== undefined) await stage.discard();
    else this.#ready = stage;
  }

  /** What is not needed ends. */
  async close(): Promise<void> {
    this.#closed = true;
    const coming = this.#coming;
    this.#coming = undefined;
    const last = await coming?.catch(() => undefined);
    await Promise.all([last?.discard(), this.#takeReady()?.discard()]);
  }
}
