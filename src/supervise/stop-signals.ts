/** Signals that ask berth to end, and their numbers. */
export const STOP_SIGNALS = { SIGTERM: 15, SIGINT: 2, SIGHUP: 1, SIGQUIT: 3 } as const;
export type StopSignal = keyof typeof STOP_SIGNALS;

const NAMES = Object.keys(STOP_SIGNALS) as StopSignal[];

/** Returns how to let them end the process again, as they do by default: call it when nothing is left to clean up. */
export function onStopSignals(handler: (signal: StopSignal) => void): () => void {
  const listener = (signal: NodeJS.Signals): void => handler(signal as StopSignal);
  for (const name of NAMES) process.on(name, listener);
  return () => {
    for (const name of NAMES) process.off(name, listener);
  };
}
