import type { CallOptions, Register } from "../stage/assembler.ts";
import {
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NONBLOCK,
  O_PATH,
  O_RDWR,
  O_WRONLY,
  OPEN_FLAGS,
  RENAME_EXCHANGE,
  S_IFREG,
} from "../sys/constants.ts";
import { type Compilation, type Compilers, EEXIST, ENOENT } from "./compilation.ts";

type Kinds = "copy-file" | "replace-symlink" | "delete-file";

const EISDIR = 21;

/**
 * Files of the tree that follow the host: each change is taken back when the launch fails. A directory in the place of
 * one is never touched: it can't be removed by one call, nor be made again.
 */
export const FILES: Compilers<Kinds> = {
  "copy-file": ({ target, base64, replace, temporary }, c) => {
    const place = openPlace(c, target, temporary);
    const made = makeIfMissing(c, place);
    const guard = replace ? refuseDirectory(c, place) : ifRegularFile(c, place);
    writeNewFile(c, place.directory, temporary, 0o644, Buffer.from(base64, "base64"), guard);
    exchange(c, place, made, guard);
  },

  "replace-symlink": ({ path, target, directory, temporary }, c) => {
    const place = openPlace(c, path, temporary);
    const made = makeIfMissing(c, place);
    const guard = directory === "refuse" ? refuseDirectory(c, place) : ifNoDirectory(c, place);
    c.asm.call(c.keeper, "symlinkat", [target, place.directory, temporary], guard);
    exchange(c, place, made, guard);
  },

  "delete-file": ({ path, temporary }, c) => {
    const { asm, keeper } = c;
    const place = openPlace(c, path, temporary);
    refuseDirectory(c, place);
    const { directory, name } = place;
    const moved = asm.register();
    asm.call(keeper, "renameat2", [directory, name, directory, temporary, 0], { into: moved, tolerate: ENOENT });
    asm.call(c.commit, "unlinkat", [directory, temporary, 0], { onlyIf: moved });
    c.cleanUp((program, when) => {
      if (when === "undo")
        asm.call(program, "renameat2", [directory, temporary, directory, name, 0], { onlyIf: moved });
    });
  },
};

/** What an operation depends on. */
type Guard = Pick<CallOptions, "onlyIf">;

/** A file that must not exist yet, with all its content. */
export function writeNewFile(
  c: Compilation,
  directory: Register | number,
  name: string,
  mode: number,
  bytes: Buffer,
  guard: Guard = {},
): void {
  const { asm, keeper } = c;
  const file = asm.register();
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
  asm.call(keeper, "openat", [directory, name, flags, mode], { into: file, ...guard });
  if (bytes.length > 0)
    asm.call(keeper, "write", [file, asm.bytes(bytes), bytes.length], {
      accept: [bytes.length, bytes.length],
      ...guard,
    });
  asm.call(keeper, "close", [file], guard);
}

/** A file of the tree, which need not exist: its directory, its name in there, and another one beside it. */
interface Place {
  readonly directory: Register;
  readonly name: string;
  readonly temporary: string;
}

/** Symbolic links on the way are followed inside the tree. */
function openPlace(c: Compilation, path: string, temporary: string): Place {
  const slash = path.lastIndexOf("/");
  const directory = c.asm.register();
  c.openInRoot(path.slice(0, slash) || "/", directory, { api: false, directory: true });
  return { directory, name: path.slice(slash + 1), temporary };
}

/** An empty file, so that there is something to exchange. */
function makeIfMissing(c: Compilation, { directory, name }: Place): Register {
  const made = c.asm.register();
  c.asm.call(c.keeper, "mknodat", [directory, name, S_IFREG | 0o644, 0], { into: made, tolerate: EEXIST });
  return made;
}

function ifRegularFile(c: Compilation, { directory, name }: Place): Guard {
  const file = c.asm.register();
  const flags = O_RDWR | O_NONBLOCK | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
  c.asm.call(c.keeper, "openat", [directory, name, flags], { into: file, lenient: true });
  return { onlyIf: file };
}

function ifNoDirectory(c: Compilation, place: Place): Guard {
  const { onlyIf } = ifDirectory(c, place);
  const free = c.asm.register();
  c.asm.pseudo(c.keeper, "result", [0], { into: free });
  c.asm.pseudo(c.keeper, "result", [-EISDIR], { into: free, lenient: true, onlyIf });
  return { onlyIf: free };
}

/** By the removal that a directory refuses with EISDIR. */
function refuseDirectory(c: Compilation, place: Place): Guard {
  c.asm.call(c.keeper, "unlinkat", [place.directory, place.name, 0], ifDirectory(c, place));
  return {};
}

function ifDirectory(c: Compilation, { directory, name }: Place): Required<Guard> {
  const found = c.asm.register();
  const { O_DIRECTORY, O_NOFOLLOW } = OPEN_FLAGS[c.arch];
  const flags = O_PATH | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW;
  c.asm.call(c.keeper, "openat", [directory, name, flags], { into: found, lenient: true });
  return { onlyIf: found };
}

/**
 * Puts the new file, which has the temporary name, in the place of the old one so that it can be undone: both change
 * names at once, the old one is removed when the machine runs and gets its name back when it does not.
 */
function exchange(c: Compilation, { directory, name, temporary }: Place, made: Register, guard: Guard): void {
  const { asm, keeper } = c;
  const exchanged = asm.register();
  asm.call(keeper, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], {
    into: exchanged,
    ...guard,
  });
  asm.call(c.commit, "unlinkat", [directory, temporary, 0]);
  c.cleanUp((program, when) => {
    if (when === "end") return;
    asm.call(program, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], { onlyIf: exchanged });
    asm.call(program, "unlinkat", [directory, temporary, 0], { onlyIf: directory });
    asm.call(program, "unlinkat", [directory, name, 0], { onlyIf: made });
  });
}
