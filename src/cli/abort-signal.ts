import { constants } from "node:os";

let controller: AbortController | undefined;

/**
 * Made when a verb first asks for it: from then on the first ^C or SIGTERM aborts, and a second ends the process. `come`: the first, a number,
 * where it has come already; 0: none has.
 */
export function abortSignal(come = 0): AbortSignal {
  if (controller === undefined) {
    const made = new AbortController();
    controller = made;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      if (constants.signals[signal] !== come) process.once(signal, () => made.abort());
    if (come !== 0) made.abort();
  }
  return controller.signal;
}
