/**
 * A disk whose power can be cut at any moment of what goes on on it, as often as one likes, while it goes on: its blocks are a
 * file that shares its own with copies (XFS), and a copy is what the disk holds at that moment, without all that the kernel
 * still had to write. The next mount of such a copy replays the journal, as that after a power cut does.
 *
 * FS_IOC_SHUTDOWN would cut once a run, and btrfs does not know it. Either way writes reach the disk in the order in which
 * the kernel sends them.
 *
 *   using disk = makeCutDisk("ext4", join(root.path, "disk"));
 *   disk.path                                               // where it is mounted
 *   const { cuts, result } = await disk.cutDuring(() => root.berth("clone", "a", "b"), { most: 8, storm: true });
 *   disk.unplug();
 *   await disk.with(cuts[3], async () => { ... look ... });   // mounted at the same path as it was then
 */
import { execFileSync } from "node:child_process";
import { constants, copyFileSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Need } from "./requires.ts";

export const CUT_FILE_SYSTEMS = ["ext4", "xfs", "btrfs"] as const;
export type CutFileSystem = (typeof CUT_FILE_SYSTEMS)[number];

export const CUT_TOOLS: readonly Need[] = [
  "tool:mkfs.xfs",
  "tool:mkfs.ext4",
  "tool:mkfs.btrfs",
  "file:/dev/loop-control",
];

/** Of the disk, and of what its copies are kept on. Holes. */
const SIZE = 320 << 20;
const HOST_SIZE = 4 * 2 ** 30;

export interface Cut {
  readonly file: string;
  /** ms after the beginning; null: when it had been told that it was done. */
  readonly after: number | null;
}

export interface CutOptions {
  /** Cuts that are kept, spread over the time; that at the end always is. */
  readonly most: number;
  /** The journal is written all the time, so that names come to the disk before what is in them. Else nothing comes to it but by whoever sees to that. */
  readonly storm: boolean;
}

export class CutDisk implements Disposable {
  readonly path: string;
  readonly #type: CutFileSystem;
  readonly #directory: string;
  #mounted = false;
  #cuts = 0;

  constructor(type: CutFileSystem, directory: string) {
    this.#type = type;
    this.#directory = directory;
    this.path = join(directory, "mount");
    for (const name of ["host", "memory", "mount"]) mkdirSync(join(directory, name), { recursive: true });
    const [memory, host] = [join(directory, "memory"), join(directory, "host")];
    // Else each journal that is written would wait for the disk of this host.
    run("mount", ["-t", "tmpfs", "-o", `size=${HOST_SIZE}`, "tmpfs", memory]);
    this.#make("xfs", join(memory, "host"), HOST_SIZE);
    run("mount", ["-o", "loop", join(memory, "host"), host]);
    try {
      this.#make(type, this.#file, SIZE);
      this.#mount(this.#file);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get #file(): string {
    return join(this.#directory, "host/disk");
  }

  #make(type: CutFileSystem, file: string, size: number): void {
    writeFileSync(file, "");
    truncateSync(file, size);
    run(`mkfs.${type}`, ["-q", file]);
  }

  #mount(file: string): void {
    run("mount", ["-t", this.#type, "-o", "loop", file, this.path]);
    this.#mounted = true;
  }

  sync(): void {
    run("sync", ["--file-system", this.path]);
  }

  async cutDuring<T>(act: () => Promise<T>, { most, storm }: CutOptions): Promise<{ cuts: Cut[]; result: T }> {
    const cuts: Cut[] = [];
    const start = performance.now();
    let ended = false;
    const acting = act().finally(() => {
      // Not a moment later: what is done now was done when it said so.
      cuts.push({ file: this.#cut(), after: null });
      ended = true;
    });
    await Promise.all([acting.catch(() => undefined), this.#cutUntil(() => ended, start, cuts, storm)]);
    return { result: await acting, cuts: this.#spread(cuts, most) };
  }

  async #cutUntil(ended: () => boolean, start: number, cuts: Cut[], storm: boolean): Promise<void> {
    await using dummy = storm ? await open(join(this.path, "dummy"), "w") : undefined;
    let before: bigint | undefined;
    while (!ended()) {
      await dummy?.write("x");
      await dummy?.sync();
      if (ended()) break;
      const { mtimeNs } = statSync(this.#file, { bigint: true });
      if (mtimeNs !== before) cuts.unshift({ file: this.#cut(), after: performance.now() - start });
      before = mtimeNs;
      await sleep(1);
    }
  }

  #cut(): string {
    const file = join(this.#directory, "host", `cut-${this.#cuts++}`);
    copyFileSync(this.#file, file, constants.COPYFILE_FICLONE_FORCE);
    return file;
  }

  /** The last one is that at the end; the others go. */
  #spread(cuts: readonly Cut[], most: number): Cut[] {
    const last = cuts.filter(({ after }) => after === null);
    const before = cuts.filter(({ after }) => after !== null).sort((a, b) => (a.after ?? 0) - (b.after ?? 0));
    const step = Math.max(1, before.length / Math.max(1, most - 1));
    const kept = new Set(
      Array.from({ length: Math.min(most - 1, before.length) }, (_, i) => before[Math.floor((i + 0.5) * step)]),
    );
    for (const cut of before) if (!kept.has(cut)) rmSync(cut.file);
    return [...before.filter((cut) => kept.has(cut)), ...last];
  }

  /** Of the disk itself: one of its copies can be mounted. */
  unplug(): void {
    if (!this.#mounted) return;
    run("umount", [this.path]);
    this.#mounted = false;
  }

  /** Mounts the disk itself again. */
  plug(): void {
    this.#mount(this.#file);
  }

  async with<T>(cut: Cut, look: () => Promise<T>): Promise<T> {
    this.#mount(cut.file);
    try {
      return await look();
    } finally {
      this.unplug();
      rmSync(cut.file);
    }
  }

  [Symbol.dispose](): void {
    this.unplug();
    for (const name of ["host", "memory"]) run("umount", [join(this.#directory, name)]);
    rmSync(this.#directory, { recursive: true });
  }
}

export function makeCutDisk(type: CutFileSystem, directory: string): CutDisk {
  return new CutDisk(type, directory);
}

function run(tool: string, words: readonly string[]): void {
  execFileSync(tool, words, { stdio: ["ignore", "ignore", "pipe"] });
}
