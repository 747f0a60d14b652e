import { visible } from "./quote.ts";

/** Where a value came from. Every value of a spec, and through it every step of a plan, carries one. */
export type Source =
  | { readonly from: "default" }
  | { readonly from: "file"; readonly file: string; readonly line: number; readonly column: number }
  | { readonly from: "option"; readonly option: string };

/** A value with its source; what users see as `web.nspawn:14`, `--bind=/srv` or `default`. */
export interface Sourced<T> {
  readonly value: T;
  readonly source: Source;
}

export const DEFAULT: Source = { from: "default" };

/** A value nobody set. */
export function byDefault<T>(value: T): Sourced<T> {
  return { value, source: DEFAULT };
}

/** `file:line`, the option as typed, or `default`; printable, whatever characters are in it. */
export function showSource(source: Source): string {
  switch (source.from) {
    case "default":
      return "default";
    case "file":
      return visible(`${source.file}:${source.line}`);
    case "option":
      return visible(source.option);
  }
}
