import { posix } from "node:path";
import type { FdName, MountFlag, NodeType, Removal, Step, StepKind, StepOf, WindowSize } from "../plan/step.ts";
import { type Assembler, type Pointer, Program, type Register } from "../stage/assembler.ts";
import { FIRST_FD, isHeld, SYNC } from "../stage/stage-abi.ts";
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  CLONE_VFORK,
  CLONE_VM,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
  O_CLOEXEC,
  O_PATH,
  OPEN_FLAGS,
  OPEN_TREE_CLONE,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  S_IFREG,
  SCM_RIGHTS,
  SOL_SOCKET,
} from "../sys/constants.ts";

/** As vfork(2): who clones goes on when the child has ended, and shares its memory. */
export const LIKE_VFORK = CLONE_VM | CLONE_VFORK;
export const EEXIST = 17;
export const ENOENT = 2;

const ATTRIBUTES: Readonly<Record<MountFlag, number>> = {
  ro: MOUNT_ATTR_RDONLY,
  nosuid: MOUNT_ATTR_NOSUID,
  nodev: MOUNT_ATTR_NODEV,
  noexec: MOUNT_ATTR_NOEXEC,
  noatime: MOUNT_ATTR_NOATIME,
  nodiratime: MOUNT_ATTR_NODIRATIME,
  relatime: MOUNT_ATTR_RELATIME,
  strictatime: MOUNT_ATTR_STRICTATIME,
};

/** The MOUNT_ATTR_* bits of flags given in words. */
export function mountAttributes(flags: readonly MountFlag[]): number {
  return flags.reduce((bits, flag) => bits | ATTRIBUTES[flag], 0);
}

/** What the host hands to the stage, by the numbers they have there. */
export interface HostFds {
  /** The first number behind the locks that the keeper holds. */
  readonly free: number;
  /** Two ends of the socket between keeper and init. */
  readonly keeperEnd: number;
  readonly initEnd: number;
  /** fds that host steps opened, by name. */
  readonly named: ReadonlyMap<FdName, number>;
}

/** The numbers in the order of handing over: the image, the locks, the pair, and what else is named. */
export function numberFds(names: readonly FdName[]): HostFds {
  const others = names.filter((name) => !isHeld(name));
  const free = FIRST_FD + 1 + names.length - others.length;
  const [keeperEnd, initEnd, first] = [free, free + 1, free + 2];
  return { free, keeperEnd, initEnd, named: new Map(others.map((name, index) => [name, first + index])) };
}

type Cleanup = (program: Program, when: "undo" | "end") => void;

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
  readonly #directories = new Map<string, Register | number>();
  readonly #cleanups: Cleanup[] = [];

  constructor(asm: Assembler, arch: "x64" | "arm64", host: HostFds, filter: Buffer) {
    this.asm = asm;
    this.arch = arch;
    this.host = host;
    this.filter = filter;
    this.pid = asm.register();
    this.leader = asm.register();
    this.apivfsPid = asm.register();
    this.master = asm.register();
    this.slave = asm.register();
    this.root = asm.register();
    this.self = asm.register();
    this.hostMounts = asm.register();
  }

  /** The register for an fd that a stage step makes; made up at its first mention. */
  named(name: FdName): Register {
    let register = this.#registers.get(name);
    if (register === undefined) {
      register = this.asm.register();
      this.#registers.set(name, register);
    }
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

  cleanups(when: "undo" | "end"): Program {
    const program = when === "undo" ? this.undo : new Program(5, true, true);
    for (const cleanup of [...this.#cleanups].reverse()) cleanup(program, when);
    return program;
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
    let directory = this.#directories.get(parent);
    if (directory === undefined) {
      const opened = this.asm.register();
      this.openInRoot(parent, opened, { api: true, directory: true });
      this.#directories.set(parent, opened);
      directory = opened;
    }
    return { directory, name: posix.basename(path) };
  }

  /** A directory of ours is known by its mount's own fd. */
  rememberDirectory(path: string, directory: Register | number): void {
    this.#directories.set(path, directory);
  }

  /** A path on one of berth's own mounts, by the nearest directory that is open; undefined: it is in the tree. */
  own(path: string): { directory: Register | number; name: string } | undefined {
    for (let parent = posix.dirname(path); parent !== "/"; parent = posix.dirname(parent)) {
      const directory = this.#directories.get(parent);
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

  /**
   * Opens the place where something is mounted, after making what is missing of it. What was made in the tree itself
   * (`remove`) is removed again when the machine has ended: a run leaves the tree as it found it. In another mount that is
   * possible only as long as its directories are open.
   */
  openTarget(
    path: string,
    create: NodeType | null,
    api: boolean,
    remove: Removal,
    program: Program = this.keeper,
  ): Register {
    const { asm } = this;
    const target = asm.register();
    if (create === null) {
      this.openInRoot(path, target, { api, program });
      return target;
    }
    const parts = path.split("/").filter((part) => part !== "");
    let parent: Register = this.root;
    parts.forEach((name, index) => {
      const last = index === parts.length - 1;
      const made = asm.register();
      if (last && create === "file")
        asm.call(program, "mknodat", [parent, name, S_IFREG | 0o644, 0], { into: made, tolerate: EEXIST });
      else asm.call(program, "mkdirat", [parent, name, 0o755], { into: made, tolerate: EEXIST });
      const prefix = `/${parts.slice(0, index + 1).join("/")}`;
      const flags = last && create === "file" ? 0 : AT_REMOVEDIR;
      if (remove === true) this.#removeLater(prefix, made, flags);
      if (remove === "after-failure") this.#removeAfterFailure(parent, name, made, flags);
      const opened = last ? target : asm.register();
      this.openInRoot(prefix, opened, { api, program });
      if (parent !== this.root && remove !== "after-failure") asm.call(program, "close", [parent]);
      parent = opened;
    });
    return target;
  }

  #removeLater(path: string, made: Register, flags: number): void {
    const { asm } = this;
    const how = this.asm.bytes(
      wordsOf([O_PATH | O_CLOEXEC | OPEN_FLAGS[this.arch].O_DIRECTORY, 0, RESOLVE_IN_ROOT]),
      true,
    );
    this.cleanUp((program) => {
      const parent = asm.register();
      asm.call(program, "openat2", [this.root, posix.dirname(path), how, 24], { into: parent, onlyIf: made });
      asm.call(program, "unlinkat", [parent, posix.basename(path), flags], { onlyIf: parent });
      asm.call(program, "close", [parent], { onlyIf: parent });
    });
  }

  #removeAfterFailure(parent: Register, name: string, made: Register, flags: number): void {
    this.cleanUp((program, when) => {
      if (when === "undo") this.asm.call(program, "unlinkat", [parent, name, flags], { onlyIf: made });
    });
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

/** struct msghdr with its iovec, 24 bytes of data {SYNC + number, pid, 0} and room for fds: the same for both directions. */
export function messageBuffer(
  c: Compilation,
  sync: number,
  count: number,
): { header: Pointer; data: Pointer; fds: Pointer } {
  const { asm } = c;
  const data = asm.words([SYNC + sync, 0, 0]);
  const iovec = asm.words([data, 24]);
  const length = 16 + count * 4;
  const control = asm.bytes(
    Buffer.concat([wordsOf([length]), u32([SOL_SOCKET, SCM_RIGHTS]), Buffer.alloc((count * 4 + 7) & ~7)]),
  );
  const header = asm.words([0, 0, iovec, 1, count === 0 ? 0 : control, count === 0 ? 0 : length, 0]);
  return { header, data, fds: { at: control.at + 16 } };
}

export function u32(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value >>> 0, index * 4);
  });
  return bytes;
}

/** struct winsize of tty_ioctl(4); nobody looks at the pixels. */
export function windowSize({ rows, columns }: WindowSize): Buffer {
  return u32([rows | (columns << 16), 0]);
}

/** 64-bit little-endian words as bytes, for structs that must be resident. */
export function wordsOf(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

/** How a step of a kind becomes operations. */
export type Compilers<K extends StepKind> = {
  readonly [Kind in K]: (args: StepOf<Kind>["args"], c: Compilation, step: Step) => void;
};
