import type { TemporaryFileSystem } from "../spec/machine-spec.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import type { Parse } from "./setting.ts";
import { words } from "./values.ts";
import { clean, machineTarget } from "./values-files.ts";
import { PATHS, PLAIN_WORDS, splitWords } from "./words.ts";

type Flag = TemporaryFileSystem["flags"][number];

/** What a word of mount(8) adds to the flags and takes from them. */
const FLAGS: ReadonlyMap<string, { readonly adds?: Flag; readonly takes?: readonly Flag[] }> = new Map([
  ["defaults", {}],
  ["rw", { takes: ["ro"] }],
  ["ro", { adds: "ro" }],
  ["suid", { takes: ["nosuid"] }],
  ["nosuid", { adds: "nosuid" }],
  ["nodev", { adds: "nodev" }],
  ["exec", { takes: ["noexec"] }],
  ["noexec", { adds: "noexec" }],
  ["noatime", { adds: "noatime", takes: ["strictatime", "relatime"] }],
  ["relatime", { adds: "relatime", takes: ["strictatime", "noatime"] }],
  ["strictatime", { adds: "strictatime", takes: ["relatime", "noatime"] }],
  ["nodiratime", { adds: "nodiratime" }],
]);

const ID = /^[0-9]{1,10}$/;
const ID_MAX = 0xfffffffe;
const COUNT = /^[0-9]{1,15}[kKmMgGtT]?$/;

/** Options of tmpfs(5) with what their value has to be; those without one have no value. */
const OPTIONS: ReadonlyMap<string, { readonly fits: RegExp; readonly expected: string } | null> = new Map([
  [
    "size",
    {
      fits: /^([0-9]{1,15}[kKmMgGtT]?|[0-9]{1,3}%)$/,
      expected: "bytes such as 64m, or a share of the memory such as 10%",
    },
  ],
  ["nr_blocks", { fits: COUNT, expected: "a number such as 4096 or 1k" }],
  ["nr_inodes", { fits: COUNT, expected: "a number such as 4096 or 1k" }],
  ["mode", { fits: /^[0-7]{1,4}$/, expected: "an octal mode such as 0755" }],
  ["uid", { fits: ID, expected: "a user id of the machine" }],
  ["gid", { fits: ID, expected: "a group id of the machine" }],
  ["huge", { fits: /^(never|always|within_size|advise)$/, expected: "never, always, within_size or advise" }],
  ["inode32", null],
  ["inode64", null],
  ["noswap", null],
]);

/** systemd-nspawn's: with options of one's own the mode is the kernel's. */
const DEFAULT_MODE = 0o755;
const DEFAULT_FLAGS: readonly Flag[] = ["nodev", "strictatime"];

/** TemporaryFileSystem=: `TARGET[:OPTIONS]`, options as those of mount(8) for tmpfs, separated by commas. */
export const temporaryFileSystem: Parse<TemporaryFileSystem> = (value, report) => {
  const split = words(value, PATHS, report, 1);
  const [target] = split?.words ?? [];
  if (split === undefined || target === undefined) return undefined;
  const fits = machineTarget(target, report);
  const { rest } = split;
  const asked = rest !== undefined && rest.text !== "";
  const found = asked
    ? readOptions(rest.text, (fault) => report({ ...fault, offset: rest.offset + (fault.offset ?? 0) }))
    : { mode: DEFAULT_MODE, uid: 0, gid: 0, flags: DEFAULT_FLAGS, options: [] };
  return fits && found !== undefined ? { target: clean(target.text), ...found } : undefined;
};

function readOptions(
  text: string,
  report: Parameters<Parse<unknown>>[1],
): Omit<TemporaryFileSystem, "target"> | undefined {
  const flags = new Set(DEFAULT_FLAGS);
  const values = new Map<string, string>();
  let faults = 0;
  const split = splitWords(text, { ...PLAIN_WORDS, separators: "," });
  for (const word of "words" in split ? split.words : []) {
    const flag = FLAGS.get(word.text);
    const fault = flag === undefined ? optionFault(word.text) : undefined;
    if (fault !== undefined) {
      report({ ...fault, offset: word.offset });
      faults++;
    } else if (flag !== undefined) {
      for (const each of flag.takes ?? []) flags.delete(each);
      if (flag.adds !== undefined) flags.add(flag.adds);
    } else values.set(nameOf(word.text), word.text);
  }
  if (faults > 0) return undefined;
  const number = (name: string, base: number): number | undefined => {
    const found = values.get(name)?.slice(name.length + 1);
    values.delete(name);
    return found === undefined ? undefined : Number.parseInt(found, base);
  };
  return {
    mode: number("mode", 8) ?? null,
    uid: number("uid", 10) ?? 0,
    gid: number("gid", 10) ?? 0,
    flags: [...flags],
    options: [...values.values()],
  };
}

function optionFault(text: string): { what: string; expected?: string; hint?: string | undefined } | undefined {
  const name = nameOf(text);
  const rule = OPTIONS.get(name);
  if (text === "dev") return { what: "a file system with device nodes that work can't be had", expected: "nodev" };
  if (rule === undefined) {
    const known = [...OPTIONS].map(([each, one]) => (one === null ? each : `${each}=`));
    return {
      what: `unknown tmpfs option ${quote(text)}`,
      expected: [...FLAGS.keys(), ...known].join(", "),
      hint: suggest(name, [...FLAGS.keys(), ...OPTIONS.keys()]),
    };
  }
  const value = text === name ? undefined : text.slice(name.length + 1);
  if (rule === null)
    return value === undefined ? undefined : { what: `tmpfs option ${name} has no value`, expected: name };
  const isId = name === "uid" || name === "gid";
  if (value !== undefined && rule.fits.test(value) && !(isId && Number(value) > ID_MAX)) return undefined;
  return { what: `${quote(text)} is no valid tmpfs option`, expected: `${name}=, ${rule.expected}` };
}

function nameOf(text: string): string {
  return text.replace(/=.*/s, "");
}
