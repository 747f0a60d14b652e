import { posix } from "node:path";
import type { Bind } from "../spec/machine-spec.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { words } from "./values.ts";
import { PATHS, PLAIN_WORDS, splitWords, type Word } from "./words.ts";

type Report = Parameters<Parse<unknown>>[1];
type BindOptions = Pick<Bind, "recursive" | "idmap">;

const BIND_OPTIONS: ReadonlyMap<string, Partial<BindOptions>> = new Map([
  ["rbind", { recursive: true }],
  ["norbind", { recursive: false }],
  ["noidmap", { idmap: "noidmap" }],
  ["idmap", { idmap: "idmap" }],
  ["rootidmap", { idmap: "rootidmap" }],
  ["owneridmap", { idmap: "owneridmap" }],
]);

/**
 * Bind= and BindReadOnly=: `[+]SOURCE[:TARGET[:OPTIONS]]` (systemd-nspawn(1), --bind=). SOURCE may be relative in an
 * option (then TARGET is needed) and comes back so, for build-spec.ts to resolve.
 */
export function bind(readOnly: boolean, relative: boolean): Parse<Bind> {
  return (value, report) => {
    const split = words(value, PATHS, report, 2);
    const [first, second] = split?.words ?? [];
    if (split === undefined || first === undefined) return undefined;

    const fromRoot = first.text.startsWith("+");
    const source = fromRoot ? first.text.slice(1) : first.text;
    const options = bindOptions(split.rest, report);
    // Of a temporary directory.
    const isEmpty = source === "" && !fromRoot && second !== undefined;
    const sourceFits = isEmpty || bindSource(source, fromRoot, relative, report);
    const target = second ?? { text: source, offset: first.offset };
    // What is wrong with one path is said once, though it is the target as well.
    const targetFits = (second === undefined && !sourceFits) || machineTarget(target, report);
    if (!sourceFits || !targetFits || options === undefined) return undefined;
    const path = isEmpty ? "" : clean(source) || ".";
    return { source: path, fromRoot, target: clean(target.text), readOnly, ...options };
  };
}

function bindSource(source: string, fromRoot: boolean, relative: boolean, report: Report): boolean {
  if (source.startsWith("/") || (relative && !fromRoot)) return true;
  report({ what: `source ${quote(source)} is not absolute`, expected: "a path that starts with /" });
  return false;
}

/** Where something is mounted in the machine. */
export function machineTarget({ text, offset }: Word, report: Report): boolean {
  if (text.split("/").includes("..")) report({ what: `target ${quote(text)} contains ".."`, offset });
  else if (text.startsWith("/")) return true;
  else report({ what: `target ${quote(text)} is not absolute`, expected: "a path that starts with /", offset });
  return false;
}

/** Inaccessible=: a path of the machine, as it is. */
export const machinePath: Parse<string> = (value, report) =>
  machineTarget({ text: value, offset: 0 }, report) ? clean(value) : undefined;

function bindOptions(rest: Word | undefined, report: Report): BindOptions | undefined {
  let options: BindOptions | undefined = { recursive: true, idmap: "noidmap" };
  if (rest === undefined || rest.text === "") return options;
  const split = splitWords(rest.text, { ...PLAIN_WORDS, separators: "," });
  for (const word of "words" in split ? split.words : []) {
    const offset = rest.offset + word.offset;
    const known = BIND_OPTIONS.get(word.text);
    if (known === undefined) {
      const expected = [...BIND_OPTIONS.keys()].join(", ");
      report({
        what: `unknown bind option ${quote(word.text)}`,
        expected,
        hint: bindOptionHint(word.text),
        offset,
      });
    } else {
      if (options !== undefined) options = { ...options, ...known };
      continue;
    }
    options = undefined;
  }
  return options;
}

function bindOptionHint(option: string): string | undefined {
  if (option === "ro") return "BindReadOnly=, or --bind-ro=, is read-only";
  if (option === "rw") return "Bind=, or --bind=, can be written to without it";
  return suggest(option, BIND_OPTIONS.keys());
}

/** Without doubled and trailing slashes and `.` parts; `..` stays: what it means depends on symlinks. */
export function clean(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  return `${path.startsWith("/") ? "/" : ""}${parts.join("/")}`;
}

/** A bind of a relative source as seen from `directory`, where the command was given. */
export function resolveBind(bind: Bind, directory: string): Bind {
  if (bind.fromRoot || bind.source === "" || bind.source.startsWith("/")) return bind;
  return { ...bind, source: posix.resolve(directory, bind.source) };
}
