let controller: AbortController | undefined;

/** Made when a verb first asks for it: from then on the first ^C or SIGTERM aborts, and a second ends the process. */
export function abortSignal(): AbortSignal {
  if (controller === undefined) {
    const made = new AbortController();
    controller = made;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => made.abort());
  }
  return controller.signal;
}
