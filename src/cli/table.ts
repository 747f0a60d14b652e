import { printable } from "../spec/quote.ts";

/** Of several lines: it makes its row that high. */
export type Cell = string | readonly string[];

/** Columns as wide as their widest cell; cells are foreign text and made safe for a terminal. An empty header: none. */
export function table(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const all = [...(header.length === 0 ? [] : [header]), ...rows.flatMap(linesOf)];
  const cells = all.map((row) => row.map((cell) => printable(cell)));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

function linesOf(row: readonly Cell[]): readonly (readonly string[])[] {
  const columns = row.map((cell) => (typeof cell === "string" ? [cell] : cell));
  const height = Math.max(...columns.map(({ length }) => length));
  return Array.from({ length: height }, (_, line) => columns.map((lines) => lines[line] ?? ""));
}
