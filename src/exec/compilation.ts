import { posix } from "node:path";
import type { FdName, MountFlag, Step, StepKind, StepOf } from "../plan/step.ts";
import { type Assembler, type Pointer, Program, type Register, type Replaced } from "../stage/assembler.ts";
import {
  AT_EMPTY_PATH,
  CLONE_VFORK,
  CLONE_VM,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  O_CLOEXEC,
  O_PATH,
  OPEN_FLAGS,
  OPEN_TREE_CLONE,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
} from "../sys/constants.ts";
import type { HostFds } from "./host-fds.ts";
import { mountAttributes } from "./mount-attributes.ts";

/** As vfork(2): who clones goes on when the child has ended, and shares its memory. */
export const LIKE_VFORK = CLONE_VM | CLONE_VFORK;
export const EEXIST = 17;
export const ENOENT = 2;

/** How much there is of what a compilation has made. */
export interface Mark {
  readonly registers: number;
  /** Of each program. */
  readonly operations: readonly number[];
  readonly directories: number;
  readonly cleanups: number;
}

/** Around a step. */
export interface StepMarks {
  readonly before: Mark;
  readonly after: Mark;
}

type When = "undo" | "end";
type Cleanup = (program: Program, when: When) => void;

/** Where something is in a program, and the registers that it has for itself. */
interface Place {
  readonly from: number;
  readonly to: number;
  readonly registers: readonly [from: number, to: number];
}

/** State of one compilation: the programs being written, and the names they share. */
export class Compilation {
  readonly asm: Assembler;
  readonly arch: "x64" | "arm64";
  readonly host: HostFds;
  /** Seccomp filter, an array of struct sock_filter. */
  readonly filter: Buffer;
  readonly keeper = new Program(0);
  readonly init = new Program(1);
  readonly apivfs = new Program(2);
  readonly commit = new Program(3, true);
  /** When the launch failed; begins with what puts the keeper where it can clean up. */
  readonly undo = new Program(4, true);
  /** When the machine has ended. */
  readonly end = new Program(5, true, true);
  /** Last words of the process that the keeper is cloned from. */
  readonly farewell = new Program(6, true);
  /** What the stub init does before it is one. */
  readonly stub = new Program(7);
  /** Of the process that clones init in namespaces made ahead. */
  readonly porter = new Program(8);
  readonly pid: Register;
  readonly leader: Register;
  readonly apivfsPid: Register;
  readonly master: Register;
  readonly slave: Register;
  readonly root: Register;
  readonly self: Register;
  readonly hostMounts: Register;
  readonly #registers = new Map<string, Register>();
  /** Of a step that is compiled again. */
  #again: { readonly from: number; readonly names: Map<string, Register> } | undefined;
  /** What was opened last of a path counts. */
  readonly #directories: { readonly path: string; readonly directory: Register | number }[] = [];
  readonly #cleanups: Cleanup[] = [];
  readonly #places = { undo: new Map<Cleanup, Place>(), end: new Map<Cleanup, Place>() };

  /** Those that steps write. */
  readonly #programs: readonly Program[];

  constructor(asm: Assembler, arch: "x64" | "arm64", host: HostFds, filter: Buffer) {
    this.asm = asm;
    this.arch = arch;
    this.host = host;
    this.filter = filter;
    const { keeper, init, apivfs, commit, undo, farewell, stub, porter } = this;
    this.#programs = [keeper, init, apivfs, commit, undo, farewell, stub, porter];
    this.pid = asm.register();
    this.leader = asm.register();
    this.apivfsPid = asm.register();
    this.master = asm.register();
    this.slave = asm.register();
    this.root = asm.register();
    this.self = asm.register();
    this.hostMounts = asm.register();
  }

  /** Where it is, between two steps. */
  mark(): Mark {
    return {
      registers: this.asm.registers,
      operations: this.#programs.map(({ ops }) => ops.length),
      directories: this.#directories.length,
      cleanups: this.#cleanups.length,
    };
  }

  /**
   * When all is compiled (`now`): another step in the place of the one that led from one mark to another. Tells what it does
   * instead, with the registers that the old one had; undefined: that does not fit in there.
   */
  again({ before, after }: StepMarks, now: Mark, compileStep: () => void): readonly Replaced[] | undefined {
    const later = this.#directories.splice(before.directories);
    this.asm.registers = before.registers;
    const names = new Map<string, Register>();
    this.#again = { from: before.registers, names };
    compileStep();
    let fits = this.asm.registers === after.registers && this.#directories.length === after.directories;
    for (const [name, { register }] of names) fits &&= this.#registers.get(name)?.register === register;
    const replaced: Replaced[] = [];
    this.#programs.forEach((program, index) => {
      const from = before.operations[index] ?? 0;
      const ops = program.ops.splice(now.operations[index] ?? 0);
      fits &&= from + ops.length === after.operations[index];
      if (ops.length > 0) replaced.push({ program, from, ops });
    });
    const cleanups = this.#cleanupsAgain(before.cleanups, after.cleanups, this.#cleanups.splice(now.cleanups));
    this.asm.registers = now.registers;
    this.#again = undefined;
    this.#directories.splice(before.directories, Infinity, ...later);
    return fits && cleanups !== undefined ? [...replaced, ...cleanups] : undefined;
  }

  #cleanupsAgain(from: number, to: number, others: readonly Cleanup[]): readonly Replaced[] | undefined {
    const replaced: Replaced[] = [];
    if (others.length !== to - from) return undefined;
    for (const when of ["undo", "end"] as const)
      for (const [index, cleanup] of others.entries()) {
        const place = this.#places[when].get(this.#cleanups[from + index] as Cleanup);
        if (place === undefined) return undefined;
        const { ops } = this[when];
        const length = ops.length;
        this.asm.registers = place.registers[0];
        cleanup(this[when], when);
        const more = ops.splice(length);
        if (place.from + more.length !== place.to || this.asm.registers !== place.registers[1]) return undefined;
        if (more.length > 0) replaced.push({ program: this[when], from: place.from, ops: more });
      }
    return replaced;
  }

  /** The register for an fd that a stage step makes; made up at its first mention. */
  named(name: FdName): Register {
    const known = this.#registers.get(name);
    const again = this.#again;
    // Of a step that is compiled again only what came before it is known.
    if (known !== undefined && (again === undefined || known.register < again.from)) return known;
    const names = again?.names ?? this.#registers;
    const register = again?.names.get(name) ?? this.asm.register();
    names.set(name, register);
    return register;
  }

  /** An fd by name: the host's number if it opened it, else the stage's register. */
  fd(name: FdName): number | Register {
    return this.host.named.get(name) ?? this.named(name);
  }

  /** Steps of the stage itself hold a few fds at a time, from the lowest free number up. */
  get lastSlot(): number {
    return this.host.initEnd + this.host.named.size + 64;
  }

  /** Work to do backwards when the launch fails (undo) and when the machine has ended (end). */
  cleanUp(cleanup: Cleanup): void {
    this.#cleanups.push(cleanup);
  }

  /** When all steps are compiled. */
  finishCleanups(): void {
    for (const when of ["undo", "end"] as const)
      for (const cleanup of [...this.#cleanups].reverse()) {
        const [from, registers] = [this[when].ops.length, this.asm.registers];
        cleanup(this[when], when);
        const place = { from, to: this[when].ops.length, registers: [registers, this.asm.registers] as const };
        this.#places[when].set(cleanup, place);
      }
  }

  /** struct open_how (openat2(2)). */
  how(flags: number, resolve: number, mode = 0): Pointer {
    return this.asm.words([flags | O_CLOEXEC, mode, resolve]);
  }

  /** Opens `path` below the machine's root; `extra` flags on top of O_PATH. */
  openInRoot(
    path: string,
    into: Register,
    options: { api: boolean; directory?: boolean; tolerate?: number; program?: Program },
  ): void {
    const flags = O_PATH | (options.directory ? OPEN_FLAGS[this.arch].O_DIRECTORY : 0);
    const resolve = RESOLVE_IN_ROOT | (options.api ? RESOLVE_NO_SYMLINKS : 0);
    this.asm.call(options.program ?? this.keeper, "openat2", [this.root, path, this.how(flags, resolve), 24], {
      into,
      ...(options.tolerate === undefined ? {} : { tolerate: options.tolerate }),
    });
  }

  /**
   * The directory that holds `path`, for *at calls on its last part. Directories on berth's own fresh mounts (/dev,
   * /run) are opened once and never through a symbolic link.
   */
  parent(path: string): { directory: Register | number; name: string } {
    const parent = posix.dirname(path);
    let directory = this.#directory(parent);
    if (directory === undefined) {
      const opened = this.asm.register();
      this.openInRoot(parent, opened, { api: true, directory: true });
      this.rememberDirectory(parent, opened);
      directory = opened;
    }
    return { directory, name: posix.basename(path) };
  }

  /** A directory of ours is known by its mount's own fd. */
  rememberDirectory(path: string, directory: Register | number): void {
    this.#directories.push({ path, directory });
  }

  #directory(path: string): Register | number | undefined {
    return this.#directories.findLast((known) => known.path === path)?.directory;
  }

  /** A path on one of berth's own mounts, by the nearest directory that is open; undefined: it is in the tree. */
  own(path: string): { directory: Register | number; name: string } | undefined {
    for (let parent = posix.dirname(path); parent !== "/"; parent = posix.dirname(parent)) {
      const directory = this.#directory(parent);
      if (directory !== undefined) return { directory, name: path.slice(parent.length + 1) };
    }
    return undefined;
  }

  /** The same of a path that has to be there. */
  within(path: string): { directory: Register | number; name: string } {
    const own = this.own(path);
    if (own === undefined) throw new Error(`${path} is on no mount of ours`);
    return own;
  }

  /** A detached copy of what is at an opened place, with MOUNT_ATTR_* set. */
  cloneMount(program: Program, from: number | Register, path: string, attributes: number, onlyIf?: Register): Register {
    const { asm } = this;
    const mount = asm.register();
    const guard = onlyIf === undefined ? {} : { onlyIf };
    asm.call(program, "open_tree", [from, path, OPEN_TREE_CLONE | O_CLOEXEC | (path === "" ? AT_EMPTY_PATH : 0)], {
      into: mount,
      ...guard,
    });
    if (attributes !== 0)
      asm.call(program, "mount_setattr", [mount, "", AT_EMPTY_PATH, asm.words([attributes, 0, 0, 0]), 32], guard);
    return mount;
  }

  /** fsopen, fsconfig, fsmount: a new file system, detached. Options are `name=value` or a bare flag. */
  makeFileSystem(program: Program, type: string, options: readonly string[], flags: readonly MountFlag[]): Register {
    const { asm } = this;
    const context = asm.register();
    const mount = asm.register();
    asm.call(program, "fsopen", [type, FSOPEN_CLOEXEC], { into: context });
    for (const option of options) {
      const equals = option.indexOf("=");
      if (equals < 0) asm.call(program, "fsconfig", [context, FSCONFIG_SET_FLAG, option, 0, 0]);
      else
        asm.call(program, "fsconfig", [
          context,
          FSCONFIG_SET_STRING,
          option.slice(0, equals),
          option.slice(equals + 1),
          0,
        ]);
    }
    asm.call(program, "fsconfig", [context, FSCONFIG_CMD_CREATE, 0, 0, 0]);
    asm.call(program, "fsmount", [context, FSMOUNT_CLOEXEC, mountAttributes(flags)], { into: mount });
    asm.call(program, "close", [context]);
    return mount;
  }
}

/** How a step of a kind becomes operations. */
export type Compilers<K extends StepKind> = {
  readonly [Kind in K]: (args: StepOf<Kind>["args"], c: Compilation, step: Step) => void;
};
