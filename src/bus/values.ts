import { Variant } from "dbus-next/lib/variant.js";

export { Variant };

/**
 * What D-Bus types are in TypeScript, derived from the text of a signature: `Values<"sa{sv}">` is
 * [string, Record<string, Variant>]. A handler of a method whose signature is written in its description gets
 * arguments of these types, and has to answer such.
 */

/** By code: what is read, and what may be given to be sent. fds are numbers in this process. */
interface Basic {
  s: string;
  o: string;
  g: string;
  y: number;
  b: boolean;
  n: number;
  q: number;
  i: number;
  u: number;
  x: bigint;
  t: bigint;
  d: number;
  h: number;
  v: Variant;
}
interface BasicSent extends Omit<Basic, "x" | "t"> {
  x: bigint | number;
  t: bigint | number;
}

interface Direction {
  readonly basic: Basic | BasicSent;
}
interface Received extends Direction {
  readonly basic: Basic;
}
interface Sent extends Direction {
  readonly basic: BasicSent;
}

/** [type of the first complete type of S, rest of S] */
type First<S extends string, D extends Direction> = S extends `ay${infer R}`
  ? [Buffer, R]
  : S extends `a{${infer K}${infer R}`
    ? K extends keyof Basic
      ? First<R, D> extends [infer V, `}${infer Rest}`]
        ? [Readonly<Record<string, V>>, Rest]
        : never
      : never
    : S extends `a${infer R}`
      ? First<R, D> extends [infer T, infer Rest]
        ? [readonly T[], Rest]
        : never
      : S extends `(${infer R}`
        ? Members<R, D>
        : S extends `${infer C}${infer R}`
          ? C extends keyof D["basic"]
            ? [D["basic"][C], R]
            : never
          : never;

type Members<S extends string, D extends Direction, Found extends readonly unknown[] = []> = S extends `)${infer R}`
  ? [Readonly<Found>, R]
  : First<S, D> extends [infer T, infer R extends string]
    ? Members<R, D, [...Found, T]>
    : never;

type All<S extends string, D extends Direction, Found extends readonly unknown[] = []> = string extends S
  ? readonly unknown[]
  : S extends ""
    ? Found
    : First<S, D> extends [infer T, infer R extends string]
      ? All<R, D, [...Found, T]>
      : never;

/** The arguments that a message of signature S has. Of a signature known only at run time: unknown[]. */
export type Values<S extends string> = All<S, Received>;
/** The arguments that a message of signature S may be made of. */
export type Sendable<S extends string> = Readonly<All<S, Sent>>;
/** Of one complete type. */
export type Value<S extends string> = Values<S> extends readonly [infer T] ? T : unknown;
export type SendableValue<S extends string> = Sendable<S> extends readonly [infer T] ? T : unknown;

/** What a method answers: nothing, its one value, or a tuple of several. */
export type Answer<S extends string> = string extends S
  ? unknown
  : S extends ""
    ? // biome-ignore lint/suspicious/noConfusingVoidType: it is the type of what a handler returns
      void
    : Sendable<S> extends readonly [infer T]
      ? T
      : Sendable<S>;

/** A variant of a value whose type fits the signature. */
export function variant<const S extends string>(signature: S, value: SendableValue<S>): Variant {
  return new Variant(signature, value);
}

/** What a variant holds; undefined: there is none, or it is of another type. */
export function heldIn<const S extends string>(variant: Variant | undefined, wanted: S): Value<S> | undefined {
  // It was read by its signature.
  return variant?.signature === wanted ? (variant.value as Value<S>) : undefined;
}
