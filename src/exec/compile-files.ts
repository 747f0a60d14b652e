import {
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NONBLOCK,
  O_RDWR,
  O_WRONLY,
  OPEN_FLAGS,
  RENAME_EXCHANGE,
  S_IFREG,
} from "../sys/constants.ts";
import type { Register } from "./assembler.ts";
import { type Compilation, type Compilers, EEXIST, ENOENT } from "./compilation.ts";

type Kinds = "copy-file" | "replace-symlink" | "delete-file";

/** Files of the tree that follow the host: each change is taken back when the launch fails. */
export const FILES: Compilers<Kinds> = {
  "copy-file": ({ target, base64, replace }, c) => {
    const content = Buffer.from(base64, "base64");
    exchange(c, target, replace ? "anything" : "regular file", (directory, temporary, onlyIf) =>
      writeNewFile(c, directory, temporary, 0o644, content, onlyIf),
    );
  },

  "replace-symlink": ({ path, target }, c) => {
    exchange(c, path, "anything", (directory, temporary) => {
      c.asm.call(c.keeper, "symlinkat", [target, directory, temporary]);
    });
  },

  "delete-file": ({ path }, c) => {
    const { asm, keeper } = c;
    const { directory, name, temporary } = insideTree(c, path);
    const moved = asm.register();
    asm.call(keeper, "renameat2", [directory, name, directory, temporary, 0], { into: moved, tolerate: ENOENT });
    asm.call(c.commit, "unlinkat", [directory, temporary, 0], { onlyIf: moved });
    c.cleanUp((program, when) => {
      if (when === "undo")
        asm.call(program, "renameat2", [directory, temporary, directory, name, 0], { onlyIf: moved });
    });
  },
};

/** A file that must not exist yet, with all its content. */
export function writeNewFile(
  c: Compilation,
  directory: Register | number,
  name: string,
  mode: number,
  bytes: Buffer,
  onlyIf?: Register,
): void {
  const { asm, keeper } = c;
  const guard = onlyIf === undefined ? {} : { onlyIf };
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

/** The directory of a file in the tree (symbolic links inside the tree are followed, in the root), and a name beside it. */
function insideTree(c: Compilation, path: string): { directory: Register; name: string; temporary: string } {
  const slash = path.lastIndexOf("/");
  const directory = c.asm.register();
  c.openInRoot(path.slice(0, slash) || "/", directory, { api: false, directory: true });
  const name = path.slice(slash + 1);
  const temporary = `.berth-${name}`;
  c.asm.call(c.keeper, "unlinkat", [directory, temporary, 0], { tolerate: ENOENT });
  return { directory, name, temporary };
}

/**
 * Puts a new file in the place of an old one so that it can be undone: both change names at once, the old one is
 * removed when the machine runs and gets its name back when it does not.
 */
function exchange(
  c: Compilation,
  path: string,
  over: "anything" | "regular file",
  write: (directory: Register, temporary: string, onlyIf: Register | undefined) => void,
): void {
  const { asm, keeper } = c;
  const { directory, name, temporary } = insideTree(c, path);
  const made = asm.register();
  const exchanged = asm.register();
  asm.call(keeper, "mknodat", [directory, name, S_IFREG | 0o644, 0], { into: made, tolerate: EEXIST });
  let onlyIf: Register | undefined;
  if (over === "regular file") {
    onlyIf = asm.register();
    const flags = O_RDWR | O_NONBLOCK | O_CLOEXEC | OPEN_FLAGS[c.arch].O_NOFOLLOW;
    asm.call(keeper, "openat", [directory, name, flags], { into: onlyIf, lenient: true });
  }
  write(directory, temporary, onlyIf);
  asm.call(keeper, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], {
    into: exchanged,
    ...(onlyIf === undefined ? {} : { onlyIf }),
  });
  asm.call(c.commit, "unlinkat", [directory, temporary, 0]);
  c.cleanUp((program, when) => {
    if (when === "end") return;
    asm.call(program, "renameat2", [directory, temporary, directory, name, RENAME_EXCHANGE], { onlyIf: exchanged });
    asm.call(program, "unlinkat", [directory, temporary, 0], { onlyIf: directory });
    asm.call(program, "unlinkat", [directory, name, 0], { onlyIf: made });
  });
}
