import type { Argument, Option } from "commander";
import { WAIT_STATES } from "../manager/protocol.ts";
import { CONSOLE_MODES } from "../spec/machine-spec.ts";
import { SIGNAL_NAMES } from "../spec/signals.ts";

/** What a word of the command line can be. */
export type Values =
  | {
      readonly kind:
        | "machines"
        | "running"
        | "stopped"
        | "images"
        /** Of the image that is named before. */
        | "snapshots"
        | "verbs"
        | "recipes"
        | "files"
        | "directories"
        | "command";
    }
  /** Machines with settings, and files. */
  | { readonly kind: "settings" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "none" };

const RUNNING: Values = { kind: "running" };
const FILES: Values = { kind: "files" };
const NONE: Values = { kind: "none" };
const words = (...all: readonly string[]): Values => ({ kind: "words", words: all });

/** Verbs whose machine has to run; `start` is for the others. */
const OF_RUNNING = new Set(
  "console exec guard shell login top apply poweroff reboot terminate kill pause resume set-property copy-to copy-from bind unbind".split(
    " ",
  ),
);

/** What can't be seen from what an argument says of itself, by verb and name. */
const ARGUMENTS: Readonly<Record<string, Values>> = {
  "start name": { kind: "stopped" },
  "replay name": { kind: "stopped" },
  "cat name|file": { kind: "settings" },
  "check name|file": { kind: "settings" },
  "bootstrap recipe": { kind: "recipes" },
  "bootstrap name": NONE,
  "snapshot snapshot": NONE,
  "copy-to source": FILES,
  "copy-from target": FILES,
  "bind source": FILES,
  "import-fs directory": { kind: "directories" },
  "rollback snapshot": { kind: "snapshots" },
  "diff snapshot": { kind: "snapshots" },
  "diff other": { kind: "snapshots" },
  "wait state": words(...WAIT_STATES),
  "read-only bool": words("yes", "no"),
  "run command": { kind: "command" },
  "plan command": { kind: "command" },
  "replay command": { kind: "command" },
};

export function argumentValues(verb: string, argument: Argument, properties: readonly string[]): Values {
  const name = argument.name();
  const known = ARGUMENTS[`${verb} ${name}`];
  if (known !== undefined) return known;
  if (name === "NAME=VALUE") return { kind: "words", words: properties.map((property) => `${property}=`) };
  if (/^[a-z-]+(\|[a-z-]+)+$/.test(name)) return words(...name.split("|"));
  if (/\bthe machines?\b/.test(argument.description)) return OF_RUNNING.has(verb) ? RUNNING : { kind: "machines" };
  if (/\bthe images?\b/.test(argument.description)) return { kind: "images" };
  return name === "file" ? FILES : NONE;
}

const OPTIONS: Readonly<Record<string, Values>> = {
  "--machine": { kind: "machines" },
  "--directory": { kind: "directories" },
  "--root": { kind: "directories" },
  "--console": words(...CONSOLE_MODES),
  "--settings": words("yes", "no", "override", "trusted"),
  "--signal": words(...SIGNAL_NAMES),
  "--kill-signal": words(...SIGNAL_NAMES),
  "--boot": words("0", "-1", "-2", "-3", "-4", "-5"),
};

/** Of an option's value: by what its place in the help says of it, `yes|no|identity`, `BOOL`, `PATH`. */
export function optionValues({ long, flags }: Option): Values {
  const known = OPTIONS[long ?? ""];
  if (known !== undefined) return known;
  const [, takes = ""] = /<(.*)>$/.exec(flags) ?? [];
  const alternatives = takes.split("|").flatMap((part) => {
    if (part === "BOOL") return ["yes", "no"];
    return /^[a-z][a-z-]*$/.test(part) && takes !== part ? [part] : [];
  });
  if (alternatives.length > 0) return words(...alternatives);
  return /PATH|FILE|SOURCE/i.test(takes) ? FILES : NONE;
}
