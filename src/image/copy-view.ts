import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { findProgram } from "../host/find-program.ts";
import type { View, ViewMount } from "../host/view-image.ts";
import { CONFINED, makeViewRoot, mountOf, PROGRAMS } from "../host/view-mounts.ts";
import { MOUNT_ATTR_RDONLY } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly } from "../sys/files.ts";

/**
 * What one cp(1) sees that copies a tree, or a part of it: the tree, and the files of the host that cp itself is made of. A machine
 * may run from the tree, and cp goes by names: of a directory that becomes a link while it is in it, it copies what that leads to.
 * Here a link leads to nothing but these.
 */

/** Names of the view's own, and where programs look for something: no tree may be there. */
const TAKEN = new Set("bin dev etc lib lib32 lib64 libx32 proc sbin usr .berth-from .berth-to".split(" "));
const READ = CONFINED | MOUNT_ATTR_RDONLY;

export interface CopyWay {
  readonly whole: boolean;
  readonly named: boolean;
}

/** Of a copy, to a path whose directory is there. */
export class CopyPlaces {
  readonly #from: string;
  readonly #to: string;
  /** False: it lies nowhere on this host (a mount that is attached nowhere, a directory of another mount namespace). */
  readonly #mountable: boolean;

  constructor(from: string, to: string) {
    this.#from = from;
    this.#to = to;
    this.#mountable = canBeMounted(from);
  }

  /** Whether cp can be given names of the tree that are names in the copy, too. */
  get divisible(): boolean {
    return this.#mountable && !TAKEN.has(basename(this.#to));
  }

  /** What cp calls all of the tree, and the copy, where that has a path. */
  get names(): readonly [tree: string, copy: string] {
    return [this.#mountable ? "/.berth-from" : ".", `/.berth-to/${basename(this.#to)}`];
  }

  /**
   * `files`: of cp. `whole`: it copies all by these names; else parts, by names below that of the copy. `named`: the directory that the copy
   * lies in has a path, as the C library wants /proc/self/fd for the mode of a directory that its owner may not write to, such as /root
   * of Fedora: of /proc there is that alone. Else it is the working directory, which no path leads to.
   */
  open(files: readonly string[], { whole, named }: CopyWay, stack: DisposableStack): View {
    const own = (fd: number): number => stack.adopt(fd, closeQuietly);
    const root = own(makeViewRoot("berth-copy"));
    const mounts: ViewMount[] = [];
    const make = (at: string): string => {
      const path = join(`/proc/self/fd/${root}`, at);
      mkdirSync(path, { recursive: true });
      return path;
    };
    for (const at of files) {
      make(dirname(at));
      writeFileSync(join(`/proc/self/fd/${root}`, at), "");
      mounts.push({ fd: own(mountOf(at, PROGRAMS)), at });
    }
    const mountAt = (at: string, fd: number): void => {
      make(at);
      mounts.push({ fd: own(fd), at });
    };
    if (this.#mountable) mountAt(whole ? ".berth-from" : basename(this.#to), mountOf(this.#from, READ, true));
    const target = mountOf(dirname(this.#to), CONFINED);
    if (!named) return { root, mounts, directory: { fd: own(target) } };
    mountAt(".berth-to", target);
    make("proc/self/fd");
    const directory = this.#mountable ? "/.berth-to" : { ofHost: this.#from };
    return { root, mounts, directory, ownFds: "proc/self/fd" };
  }
}

function canBeMounted(path: string): boolean {
  try {
    closeQuietly(mountOf(path, READ, true));
    return true;
  } catch (error) {
    if (error instanceof SysError) return false;
    throw error;
  }
}

interface Known {
  /** The program comes first. */
  readonly files: readonly [program: string, ...libraries: string[]];
  readonly stamp: string;
}

let known: Known | undefined;

/** cp(1), and what the loader loads for it, as long as that is the same. @throws BerthError: there is none */
export async function filesOfCp(): Promise<Known["files"]> {
  const program = findProgram("cp");
  if (program === undefined) throw new BerthError("there is no cp on this host, which copies trees");
  if (known?.files[0] !== program || stampOf(known.files) !== known.stamp) {
    const said: Buffer[] = [];
    // What the loader would load is said, and nothing run; one that needs nothing complains of its arguments.
    await runCommand("env", ["LD_TRACE_LOADED_OBJECTS=1", program], { onOutput: (chunk) => said.push(chunk) });
    const words = Buffer.concat(said).toString().split(/\s/);
    const libraries = new Set(words.filter((word) => word.startsWith("/") && word !== program));
    const files = [program, ...libraries] as const;
    known = { files, stamp: stampOf(files) };
  }
  return known.files;
}

/** What is different when they are others. */
function stampOf(files: readonly string[]): string {
  return files
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false });
      return `${found?.dev} ${found?.ino} ${found?.ctimeMs}`;
    })
    .join();
}
