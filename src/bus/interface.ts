import type { MethodCall } from "./method-call.ts";
import type { Answer, SendableValue, Value, Values } from "./values.ts";

/**
 * Interfaces as data: their methods, properties and signals with signatures, from which calls are checked and
 * introspection is written. `method`, `property` and `signal` make the rows; they give handlers the types that their
 * signatures stand for.
 */
export interface Interface {
  readonly name: string;
  /** Of an object that comes and goes: whether its properties are still read here. Without it that is only known by looking for it. */
  readonly isCurrent?: () => boolean;
  readonly methods?: Readonly<Record<string, Method>>;
  readonly properties?: Readonly<Record<string, Property>>;
  readonly signals?: Readonly<Record<string, Signal>>;
}

/** Names and values, as `org.freedesktop.DBus.Deprecated` "true". */
type Annotations = Readonly<Record<string, string>>;

interface Shown {
  readonly annotations?: Annotations;
  /** Works, but is in no introspection. */
  readonly hidden?: boolean;
}

interface Guarded extends Shown {
  /** Anybody may call or write it; the handler sees to who may do what (polkit.ts). Without it only root may. */
  readonly unprivileged?: boolean;
}

export interface Method extends Guarded {
  readonly in: string;
  readonly out: string;
  readonly inNames: readonly string[];
  readonly outNames: readonly string[];
  /** `args` are of the types of `in`. Answers what `out` says. */
  readonly invoke: (call: MethodCall, args: readonly unknown[]) => unknown;
}

/** Whether PropertiesChanged tells its new value, that it has one, or nothing as it never changes or changes silently. */
export type Emits = "true" | "invalidates" | "const" | "false";

export interface Property extends Guarded {
  readonly type: string;
  readonly emits: Emits;
  readonly read: () => unknown;
  readonly write: ((call: MethodCall, value: unknown) => unknown) | undefined;
}

export interface Signal extends Shown {
  readonly signature: string;
  readonly names: readonly string[];
}

type Arguments<S extends string> = Values<S> extends infer T extends readonly unknown[] ? T : never;

/** `handler` gets the arguments one by one, and answers nothing, the one value of `out`, or an array of several. */
export function method<const I extends string, const O extends string, const A extends Answer<O>>(
  row: Guarded & {
    readonly in: I;
    readonly out: O;
    readonly inNames?: readonly string[];
    readonly outNames?: readonly string[];
    readonly handler: (call: MethodCall, ...args: Arguments<I>) => A | Promise<A>;
  },
): Method {
  const { handler, inNames = [], outNames = [], ...rest } = row;
  // Whoever invokes it has read the arguments by the same signature.
  return { ...rest, inNames, outNames, invoke: (call, args) => handler(call, ...(args as Arguments<I>)) };
}

export function property<const T extends string>(
  row: Guarded & {
    readonly type: T;
    readonly emits: Emits;
    readonly read: () => SendableValue<T> | Promise<SendableValue<T>>;
    readonly write?: (call: MethodCall, value: Value<T>) => void | Promise<void>;
  },
): Property {
  const { write, ...rest } = row;
  return { ...rest, write: write && ((call, value) => write(call, value as Value<T>)) };
}

export function signal(signature: string, names: readonly string[] = [], shown: Shown = {}): Signal {
  return { signature, names, ...shown };
}
