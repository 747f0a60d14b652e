import type { MachineEvent, Manager } from "./manager.ts";

/** Tells all who listen. An error of one of them is not the machine's, nor that of the others. */
export function announce(manager: Manager, event: MachineEvent, log: (line: string) => void): void {
  for (const listener of manager.listeners("machine")) {
    try {
      listener.call(manager, event);
    } catch (error) {
      log(`not everybody could be told of it: ${String(error)}`);
    }
  }
}
