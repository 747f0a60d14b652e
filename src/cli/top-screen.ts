import { visible } from "../spec/quote.ts";
import { KEY_HELP } from "./top-keys.ts";
import type { Order, TopRow } from "./top-rows.ts";
import { topTable, totalLine } from "./top-table.ts";

/** All that is to be seen. */
export interface Scene {
  readonly rows: readonly TopRow[];
  readonly order: Order;
  /** Name of the machine. */
  readonly selected: string | undefined;
  /** A question, or what came of something; text may be foreign. */
  readonly message: string;
  readonly help: boolean;
  readonly size: { readonly rows: number; readonly columns: number };
  readonly colours: boolean;
  readonly sparks: "utf-8" | "ascii";
}

const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";
const [PLAIN, BOLD, REVERSE] = ["\x1b[m", "\x1b[1m", "\x1b[7m"];
const KEYS = "Enter shell  s stop  P M T O W N sort  ? help  q quit";

/** One frame, drawn over the last one without a flicker: never as wide or high as would make a terminal scroll. */
export function drawFrame(scene: Scene): string {
  const { size, help } = scene;
  const lines = (help ? helpLines(size.columns) : screenLines(scene)).slice(0, size.rows);
  return `${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n")}${CLEAR_BELOW}`;
}

function screenLines(scene: Scene): readonly string[] {
  const { rows, order, selected, size, colours, sparks } = scene;
  const cut = (line: string): string => line.slice(0, size.columns);
  // The selected one is marked, whatever a terminal can show.
  const table = topTable(rows, { columns: Math.max(1, size.columns - 2), sort: order.key, sparks });
  const bold = (line: string): string => (colours ? `${BOLD}${line}${PLAIN}` : line);
  const room = Math.max(1, size.rows - 3);
  const at = Math.max(
    0,
    rows.findIndex(({ name }) => name === selected),
  );
  const first = Math.max(0, Math.min(at - Math.floor(room / 2), rows.length - room));
  const shown = table.lines.slice(first, first + room).map((line, index) => {
    if (first + index !== at) return cut(`  ${line}`);
    const marked = cut(`> ${line}`);
    return colours ? `${REVERSE}${marked.padEnd(size.columns)}${PLAIN}` : marked;
  });
  const foot = scene.message === "" ? KEYS : visible(scene.message);
  const body = rows.length === 0 ? ["no machines"] : shown;
  return [cut(`berth top: ${totalLine(rows)}`), bold(cut(`  ${table.header}`)), ...body, bold(cut(foot))];
}

function helpLines(columns: number): readonly string[] {
  return KEY_HELP.flatMap((line) => wrap(line, columns));
}

function wrap(line: string, columns: number): readonly string[] {
  const lines: string[] = [];
  for (const word of line.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns) lines.splice(-1, 1, `${last} ${word}`);
    else lines.push(word.slice(0, columns));
  }
  return lines;
}
