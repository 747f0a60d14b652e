import { BerthError } from "../errors.ts";
import { printable } from "../spec/quote.ts";

/** Readers of a request's parameters, which anybody may have written. */
export type Params = Readonly<Record<string, unknown>>;

export function text(params: Params, key: string): string {
  const value = params[key];
  if (typeof value === "string" && !value.includes("\0")) return value;
  throw wrong(key, "a text");
}

export function textOrNull(params: Params, key: string): string | null {
  return params[key] === null || params[key] === undefined ? null : text(params, key);
}

export function texts(params: Params, key: string): readonly string[] {
  const value: unknown = params[key];
  if (Array.isArray(value) && value.every((each) => typeof each === "string" && !each.includes("\0")))
    return value as readonly string[];
  throw wrong(key, "a list of texts");
}

export function flag(params: Params, key: string): boolean {
  const value = params[key];
  if (typeof value === "boolean") return value;
  throw wrong(key, "true or false");
}

export function object(params: Params, key: string): Params {
  const value = params[key];
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw wrong(key, "an object");
}

/** By name. */
export function strings(params: Params, key: string): Readonly<Record<string, string>> {
  const values = object(params, key);
  return Object.fromEntries(Object.keys(values).map((name) => [name, text(values, name)]));
}

/** A whole number. */
export function number(params: Params, key: string, from: number, to: number): number {
  const value = params[key];
  if (typeof value === "number" && Number.isInteger(value) && value >= from && value <= to) return value;
  throw wrong(key, `a whole number from ${from} to ${to}`);
}

export function oneOf<T extends string>(params: Params, key: string, values: readonly T[]): T {
  const value = values.find((each) => each === params[key]);
  if (value !== undefined) return value;
  throw wrong(key, values.join(" or "));
}

function wrong(key: string, expected: string): BerthError {
  return new BerthError(`${printable(key)} is missing or wrong, expected ${expected}`, { kind: "InvalidArgs" });
}
