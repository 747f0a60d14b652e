import { type Order, SORT_KEYS, type SortKey } from "./top-rows.ts";

/** What a key asks `top` for. */
export type TopWish =
  | { readonly kind: "quit" | "suspend" | "enter" | "stop" | "yes" | "no" | "redraw" | "help" }
  | { readonly kind: "move"; readonly by: number }
  | { readonly kind: "order"; readonly order: (before: Order) => Order };

const UP: readonly string[] = ["\x1b[A", "\x1bOA"];
const DOWN: readonly string[] = ["\x1b[B", "\x1bOB"];
const FAR = 1_000_000;

/** Keys of one read of a terminal: escape sequences whole, the rest one by one. */
export function splitKeys(text: string): readonly string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a terminal sends
  return text.match(/\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|./gsu) ?? [];
}

/** As htop and top have them. Undefined: means nothing, and while a question is open, no. */
export function wishOf(key: string): TopWish | undefined {
  if (UP.includes(key)) return { kind: "move", by: -1 };
  if (DOWN.includes(key)) return { kind: "move", by: 1 };
  return KEYS.get(key);
}

const by = (key: SortKey): TopWish => ({ kind: "order", order: () => ({ key, inverse: false }) });
const next = (step: number): TopWish => ({
  kind: "order",
  order: ({ key }) => {
    const at = (SORT_KEYS.indexOf(key) + step + SORT_KEYS.length) % SORT_KEYS.length;
    return { key: SORT_KEYS[at] ?? "cpu", inverse: false };
  },
});
const INVERSE: TopWish = { kind: "order", order: ({ key, inverse }) => ({ key, inverse: !inverse }) };

const KEYS: ReadonlyMap<string, TopWish> = new Map(
  Object.entries<TopWish>({
    q: { kind: "quit" },
    Q: { kind: "quit" },
    "\x03": { kind: "quit" },
    "\x04": { kind: "quit" },
    "\x1b[21~": { kind: "quit" },
    "\x1a": { kind: "suspend" },
    "\x0c": { kind: "redraw" },
    "\r": { kind: "enter" },
    "\n": { kind: "enter" },
    s: { kind: "stop" },
    k: { kind: "stop" },
    "\x1b[20~": { kind: "stop" },
    y: { kind: "yes" },
    n: { kind: "no" },
    "?": { kind: "help" },
    h: { kind: "help" },
    "\x1b[5~": { kind: "move", by: -10 },
    "\x1b[6~": { kind: "move", by: 10 },
    "\x1b[H": { kind: "move", by: -FAR },
    "\x1b[1~": { kind: "move", by: -FAR },
    "\x1b[F": { kind: "move", by: FAR },
    "\x1b[4~": { kind: "move", by: FAR },
    P: by("cpu"),
    M: by("memory"),
    T: by("tasks"),
    O: by("io"),
    W: by("pressure"),
    N: by("name"),
    I: INVERSE,
    R: INVERSE,
    ">": next(1),
    "<": next(-1),
    "\x1b[17~": next(1),
  }),
);

export const KEY_HELP: readonly string[] = [
  "Up, Down, Page Up, Page Down, Home, End: select a machine",
  "Enter: a root shell in it; its end comes back here",
  "s: power it off, after a y",
  "P, M, T, O, W, N: sort by CPU, memory, tasks, IO, pressure (waiting), name; < and >: by the next one; I: the other way round",
  "q: quit; ^L: draw anew; ^Z: suspend",
  "CPU% is of one CPU. PSI C/M/I: percent of the last 10 s in which something waited for CPU, memory, IO.",
  "Any key goes back.",
];
