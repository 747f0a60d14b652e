import { posix } from "node:path";
import type { NodeType, Removal } from "../plan/step.ts";
import type { Program, Register } from "../stage/assembler.ts";
import { AT_REMOVEDIR, O_CLOEXEC, O_PATH, OPEN_FLAGS, RESOLVE_IN_ROOT, S_IFREG } from "../sys/constants.ts";
import { type Compilation, EEXIST } from "./compilation.ts";
import { wordsOf } from "./structs.ts";

/**
 * Opens the place where something is mounted, after making what is missing of it. What was made in the tree itself
 * (`remove`) is removed again when the machine has ended: a run leaves the tree as it found it. In another mount that is
 * possible only as long as its directories are open.
 */
export function openTarget(
  c: Compilation,
  path: string,
  create: NodeType | null,
  api: boolean,
  remove: Removal,
  program: Program = c.keeper,
): Register {
  const { asm } = c;
  const target = asm.register();
  if (create === null) {
    c.openInRoot(path, target, { api, program });
    return target;
  }
  const parts = path.split("/").filter((part) => part !== "");
  let parent: Register = c.root;
  parts.forEach((name, index) => {
    const last = index === parts.length - 1;
    const made = asm.register();
    if (last && create === "file")
      asm.call(program, "mknodat", [parent, name, S_IFREG | 0o644, 0], { into: made, tolerate: EEXIST });
    else asm.call(program, "mkdirat", [parent, name, 0o755], { into: made, tolerate: EEXIST });
    const prefix = `/${parts.slice(0, index + 1).join("/")}`;
    const flags = last && create === "file" ? 0 : AT_REMOVEDIR;
    if (remove === true) removeLater(c, prefix, made, flags);
    if (remove === "after-failure") removeAfterFailure(c, parent, name, made, flags);
    const opened = last ? target : asm.register();
    c.openInRoot(prefix, opened, { api, program });
    if (parent !== c.root && remove !== "after-failure") asm.call(program, "close", [parent]);
    parent = opened;
  });
  return target;
}

function removeLater(c: Compilation, path: string, made: Register, flags: number): void {
  const { asm } = c;
  const how = c.asm.bytes(wordsOf([O_PATH | O_CLOEXEC | OPEN_FLAGS[c.arch].O_DIRECTORY, 0, RESOLVE_IN_ROOT]), true);
  c.cleanUp((program) => {
    const parent = asm.register();
    asm.call(program, "openat2", [c.root, posix.dirname(path), how, 24], { into: parent, onlyIf: made });
    asm.call(program, "unlinkat", [parent, posix.basename(path), flags], { onlyIf: parent });
    asm.call(program, "close", [parent], { onlyIf: parent });
  });
}

function removeAfterFailure(c: Compilation, parent: Register, name: string, made: Register, flags: number): void {
  c.cleanUp((program, when) => {
    if (when === "undo") c.asm.call(program, "unlinkat", [parent, name, flags], { onlyIf: made });
  });
}
