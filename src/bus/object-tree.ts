import type { Interface } from "./interface.ts";
import type { MethodCall } from "./method-call.ts";

/** Objects that come and go, one path element below a prefix, as `/org/freedesktop/machine1/machine/web`. */
export interface Subtree {
  /** The interfaces of the object at this path element (see `unescapeElement`); undefined: there is none. */
  find(element: string, call: MethodCall): MaybePromise<readonly Interface[] | undefined>;
  /** Path elements of all objects, for introspection (see `escapeElement`). */
  list(): MaybePromise<readonly string[]>;
}

type MaybePromise<T> = T | Promise<T>;

/** Which objects there are. A path that only has objects below it has no interfaces. */
export class ObjectTree {
  readonly #objects = new Map<string, readonly Interface[]>();
  readonly #subtrees = new Map<string, Subtree>();

  export(path: string, interfaces: readonly Interface[]): void {
    this.#objects.set(path, interfaces);
  }

  addSubtree(prefix: string, subtree: Subtree): void {
    this.#subtrees.set(prefix, subtree);
  }

  /** What is there stays there. */
  isLasting(path: string): boolean {
    return this.#objects.has(path);
  }

  /** Undefined: there is nothing, nor below it. */
  find(path: string, call: MethodCall): MaybePromise<readonly Interface[] | undefined> {
    const exported = this.#objects.get(path);
    if (exported) return exported;
    const slash = path.lastIndexOf("/");
    const found = this.#subtrees.get(path.slice(0, slash))?.find(path.slice(slash + 1), call);
    return found instanceof Promise
      ? found.then((later) => later ?? this.#onTheWay(path))
      : (found ?? this.#onTheWay(path));
  }

  /** Of a path that leads to others: no interfaces. */
  #onTheWay(path: string): readonly Interface[] | undefined {
    const below = path === "/" ? "/" : `${path}/`;
    const leads = [...this.#objects.keys(), ...this.#subtrees.keys()].some(
      (known) => known === path || known.startsWith(below),
    );
    return leads ? [] : undefined;
  }

  /** Path elements of what lies directly below. */
  async children(path: string): Promise<string[]> {
    const below = path === "/" ? "/" : `${path}/`;
    const fixed = [...this.#objects.keys(), ...this.#subtrees.keys()]
      .filter((known) => known.startsWith(below) && known !== path)
      .map((known) => known.slice(below.length).split("/")[0] ?? "");
    const dynamic = (await this.#subtrees.get(path)?.list()) ?? [];
    return [...new Set([...fixed, ...dynamic])];
  }
}
