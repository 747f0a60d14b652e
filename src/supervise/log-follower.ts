import { closeSync, constants, existsSync, type FSWatcher, fstatSync, openSync, readSync, watch } from "node:fs";
import { type Frame, FrameParser, LOG_FILES } from "./console-log.ts";

export interface FollowOptions {
  /** What has been logged, a part at a time; returns false to be given no more until `resume`. */
  readonly onFrames: (frames: readonly Frame[]) => boolean;
  /** The boot is over, and all of its log has been read. */
  readonly onEnd: () => void;
  /** Once: what was there already has been given. */
  readonly onCaughtUp: () => void;
}

const CHUNK = 64 << 10;
/** Parts of one turn: a machine that never stops talking must not keep signals from their turn. */
const READS = 16;

/** For a directory without a log to be gone. */
const LOOK_MS = 20;

/** A log file that is open, known by its inode whatever name it has by now. */
interface LogFile {
  readonly fd: number;
  readonly inode: number;
}

/** Reads the console log of a running machine as its keeper writes it, over the log's rotation, by inotify. */
export class LogFollower {
  readonly #options: FollowOptions;
  /** The record directory itself: the next boot has another one of that name. */
  readonly #directory: number;
  readonly #watcher: FSWatcher;
  #file: LogFile | undefined;
  /** Open, and still to be read. */
  readonly #ahead: LogFile[] = [];
  #parser = new FrameParser();
  #caughtUp = false;
  #paused = false;
  #soon: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #closed = false;

  /** @throws ENOENT when there is no such directory */
  constructor(directory: string, options: FollowOptions) {
    this.#options = options;
    this.#directory = openSync(directory, constants.O_DIRECTORY);
    // First: what comes while we look is then told.
    this.#watcher = watch(`/proc/self/fd/${this.#directory}`, () => this.#read());
    this.#watcher.on("error", () => this.#read());
    // At once: what is typed now may end the boot, and its log be taken away, before our turn comes.
    const [newer, older] = this.#open();
    for (const file of [older, newer]) if (file !== undefined) this.#ahead.push(file);
    this.#readSoon();
  }

  resume(): void {
    this.#paused = false;
    this.#readSoon();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearImmediate(this.#soon);
    clearTimeout(this.#later);
    this.#watcher.close();
    closeSync(this.#directory);
    for (const { fd } of [...(this.#file === undefined ? [] : [this.#file]), ...this.#ahead.splice(0)]) closeSync(fd);
  }

  #readSoon(): void {
    clearImmediate(this.#soon);
    if (!this.#closed) this.#soon = setImmediate(() => this.#read());
  }

  #read(): void {
    for (let reads = 0; reads < READS; reads++) {
      if (this.#closed || this.#paused) return;
      if (this.#take((frames) => this.#give(frames))) continue;
      const next = this.#next();
      if (next === undefined) {
        this.#wait();
        return;
      }
      // Its last part may have come after we looked, before it was moved away. From now on none does.
      if (this.#take((frames) => this.#give(frames))) {
        this.#ahead.unshift(next);
        continue;
      }
      if (this.#file !== undefined) closeSync(this.#file.fd);
      [this.#file, this.#parser] = [next, new FrameParser()];
    }
    this.#readSoon();
  }

  #give(frames: readonly Frame[]): void {
    if (!this.#options.onFrames(frames)) this.#paused = true;
  }

  /** Reads a part; false: that was all there is now. */
  #take(give: (frames: readonly Frame[]) => void): boolean {
    if (this.#file === undefined) return false;
    const bytes = Buffer.allocUnsafe(CHUNK);
    const length = readSync(this.#file.fd, bytes);
    const frames = this.#parser.feed(bytes.subarray(0, length));
    if (frames.length > 0) give(frames);
    return length > 0;
  }

  /** What comes after the present file: nothing yet if that is written to. Of one that has gone the older of the two. */
  #next(): LogFile | undefined {
    const ahead = this.#ahead.shift();
    if (ahead !== undefined) return ahead;
    const [newer, older] = this.#open();
    const seen = this.#file?.inode ?? -1;
    const next = newer?.inode === seen ? undefined : older?.inode === seen ? newer : (older ?? newer);
    for (const file of [older, newer]) if (file !== undefined && file !== next) closeSync(file.fd);
    return next;
  }

  /** Should the newer one be moved away meanwhile it is the older one, and not passed over: then it is in its place. */
  #open(): readonly [newer: LogFile | undefined, older: LogFile | undefined] {
    const [newer, older] = [this.#openFile(LOG_FILES[1]), this.#openFile(LOG_FILES[0])];
    if (newer === undefined || newer.inode !== older?.inode) return [newer, older];
    closeSync(newer.fd);
    return [undefined, older];
  }

  #openFile(name: string): LogFile | undefined {
    try {
      const fd = openSync(`/proc/self/fd/${this.#directory}/${name}`, "r");
      return { fd, inode: fstatSync(fd).ino };
    } catch {
      return undefined; // there is none yet, or just now
    }
  }

  #wait(): void {
    if (!this.#caughtUp) this.#options.onCaughtUp();
    this.#caughtUp = true;
    if (this.#closed) return;
    if (fstatSync(this.#directory).nlink === 0) {
      // The last part may have come after we looked.
      if (this.#take((frames) => this.#give(frames))) {
        this.#readSoon();
        return;
      }
      this.close();
      this.#options.onEnd();
    } else if (!existsSync(`/proc/self/fd/${this.#directory}/${LOG_FILES[1]}`)) {
      // It is being removed, or is not there yet. Of the directory's own end nothing tells as long as we have it open.
      clearTimeout(this.#later);
      this.#later = setTimeout(() => this.#read(), LOOK_MS);
    }
  }
}
