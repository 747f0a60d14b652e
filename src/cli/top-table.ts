import { printable } from "../spec/quote.ts";
import { formatBytes } from "./sizes.ts";
import type { SortKey, TopRow } from "./top-rows.ts";

interface Column {
  readonly title: string;
  /** Which order it shows. */
  readonly key: SortKey | null;
  readonly left?: true;
  /** Lower: goes first where there is no room for all. */
  readonly rank: number;
  cell(row: TopRow): string;
}

/** Refreshes that a sparkline shows. */
const SPARKS = 20;
/** Of a long name so much is shown before a column goes for it. */
const NAME_MIN = 16;
/** A sparkline of less tells nothing. */
const SPARKS_MIN = 8;
const GAP = "  ";

const COLUMNS: readonly Column[] = [
  { title: "MACHINE", key: "name", left: true, rank: 9, cell: ({ name }) => printable(name) },
  { title: "STATE", key: null, left: true, rank: 4, cell: ({ state }) => state },
  { title: "CPU%", key: "cpu", rank: 8, cell: ({ cpu }) => (cpu === null ? "-" : cpu.toFixed(1)) },
  {
    title: "MEMORY",
    key: "memory",
    rank: 7,
    cell: ({ memory, memoryMax }) => formatBytes(memory) + (memoryMax === null ? "" : `/${formatBytes(memoryMax)}`),
  },
  {
    title: "TASKS",
    key: "tasks",
    rank: 6,
    cell: ({ tasks, tasksMax }) => `${tasks ?? "-"}${tasksMax === null ? "" : `/${tasksMax}`}`,
  },
  { title: "READ/s", key: "io", rank: 3, cell: ({ readRate }) => bytes(readRate) },
  { title: "WRITE/s", key: "io", rank: 3, cell: ({ writeRate }) => bytes(writeRate) },
  {
    title: "PSI C/M/I",
    key: "pressure",
    rank: 2,
    cell: ({ pressure: { cpu, memory, io } }) => [cpu, memory, io].map(percent).join("/"),
  },
];

const bytes = (rate: number | null): string => formatBytes(rate === null ? null : Math.round(rate));
const percent = (part: number | null): string => (part === null ? "-" : String(Math.round(part)));

const UTF8 = "▁▂▃▄▅▆▇█";
const ASCII = ".:-=+*#@";

export interface Look {
  /** Undefined: as wide as it comes. */
  readonly columns: number | undefined;
  readonly sort: SortKey;
  /** Sparklines: what they are drawn with; undefined: none. */
  readonly sparks: "utf-8" | "ascii" | undefined;
}

export interface Table {
  readonly header: string;
  readonly lines: readonly string[];
}

/** Each line is as wide as the terminal at most: columns go where there is no room for them, names are cut last. */
export function topTable(rows: readonly TopRow[], { columns, sort, sparks }: Look): Table {
  let shown = COLUMNS.map((column) => ({ column, cells: rows.map((row) => column.cell(row)) }));
  const widthOf = ({ column, cells }: (typeof shown)[number]): number =>
    Math.max(titleOf(column, sort).length, ...cells.map(({ length }) => length));
  const total = (nameMax: number): number =>
    shown.reduce(
      (sum, each, index) =>
        sum + Math.min(widthOf(each), index === 0 ? nameMax : Number.POSITIVE_INFINITY) + GAP.length,
      -GAP.length,
    );
  const room = columns ?? Number.POSITIVE_INFINITY;
  while (shown.length > 1 && total(NAME_MIN) > room) {
    const least = Math.min(...shown.map(({ column }) => column.rank));
    shown = shown.filter(({ column }) => column.rank !== least);
  }
  const spare = room - total(Number.POSITIVE_INFINITY);
  const withSparks = sparks !== undefined && spare >= GAP.length + SPARKS_MIN;
  const [first] = shown;
  const nameWidth = first === undefined ? 0 : Math.max(1, Math.min(widthOf(first), widthOf(first) + spare));
  const line = (cellOf: (each: (typeof shown)[number]) => string): string =>
    shown
      .map((each, index) => {
        const cell = cellOf(each);
        if (index === 0) return cut(cell, nameWidth).padEnd(nameWidth);
        return each.column.left === true ? cell.padEnd(widthOf(each)) : cell.padStart(widthOf(each));
      })
      .join(GAP);
  const lastOnes = withSparks ? Math.min(SPARKS, spare - GAP.length) : 0;
  return {
    header: within(line(({ column }) => titleOf(column, sort)) + (withSparks ? `${GAP}CPU` : ""), columns),
    lines: rows.map((row, index) =>
      within(
        line(({ cells }) => cells[index] ?? "") + (withSparks ? GAP + sparkline(row.history, lastOnes, sparks) : ""),
        columns,
      ),
    ),
  };
}

/** The one that rows are sorted by is marked. */
function titleOf({ title, key }: Column, sort: SortKey): string {
  return key === sort ? `${title}*` : title;
}

function cut(text: string, width: number): string {
  return text.length > width ? text.slice(0, width) : text;
}

function within(line: string, columns: number | undefined): string {
  return (columns === undefined ? line : cut(line, columns)).trimEnd();
}

/** Percent of one CPU: by its own highest where that is more than one. */
export function sparkline(history: readonly number[], width: number, glyphs: "utf-8" | "ascii"): string {
  const drawn = glyphs === "utf-8" ? UTF8 : ASCII;
  const last = history.slice(-width);
  const full = Math.max(100, ...last);
  return last
    .map((value) => drawn.charAt(Math.min(drawn.length - 1, Math.floor((value / full) * drawn.length))))
    .join("");
}

/** `3 machines, CPU 12.5 %, memory 1.2G, 130 tasks` */
export function totalLine(rows: readonly TopRow[]): string {
  const sum = (of: (row: TopRow) => number | null): number | null =>
    rows.reduce<number | null>((before, row) => {
      const value = of(row);
      return value === null ? before : (before ?? 0) + value;
    }, null);
  const [cpu, memory, tasks] = [sum((row) => row.cpu), sum((row) => row.memory), sum((row) => row.tasks)];
  return [
    `${rows.length} ${rows.length === 1 ? "machine" : "machines"}`,
    ...(cpu === null ? [] : [`CPU ${cpu.toFixed(1)} %`]),
    ...(memory === null ? [] : [`memory ${formatBytes(memory)}`]),
    ...(tasks === null ? [] : [`${tasks} tasks`]),
  ].join(", ");
}
