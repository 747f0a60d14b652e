import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

const USUAL = ["editor", "nano", "vi"];

/** Lets the user edit a file, and returns when that is over. @throws BerthError when there is no editor, or it failed */
export function openEditor(path: string, env: NodeJS.ProcessEnv): void {
  const editor = env["VISUAL"] || env["EDITOR"] || USUAL.find((name) => isThere(name, env));
  if (editor === undefined) throw new BerthError("there is no editor", { hint: "set EDITOR, for example EDITOR=nano" });
  // Its words are a shell's, as those of git and systemd are: EDITOR="code --wait".
  const { status, signal, error } = spawnSync("/bin/sh", ["-c", `${editor} "$@"`, editor, path], {
    stdio: "inherit",
    env,
  });
  if (error !== undefined) throw error;
  if (status !== 0)
    throw new BerthError(`${printable(editor)} ended with ${signal ?? `status ${status}`}`, {
      hint: "nothing was changed; VISUAL and EDITOR say which editor is used",
    });
}

function isThere(name: string, env: NodeJS.ProcessEnv): boolean {
  return (env["PATH"] ?? "").split(":").some((directory) => directory !== "" && existsSync(join(directory, name)));
}
