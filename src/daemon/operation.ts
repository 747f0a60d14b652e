import { AsyncLocalStorage } from "node:async_hooks";

const current = new AsyncLocalStorage<string>();
let count = 0;

/**
 * Does what a client has asked for as one operation, `WHAT#NUMBER` in the log: on the lines of all that is done for it, and
 * of what comes of it later, as a machine's end belongs to its start.
 */
export function inOperation<T>(what: string, act: () => T): T {
  return current.run(`${what}#${++count}`, act);
}

export function currentOperation(): string | undefined {
  return current.getStore();
}
