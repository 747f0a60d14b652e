import { constants } from "node:os";
import { killIn } from "../machine/kill-in.ts";
import { signalMachine } from "../machine/signal-machine.ts";
import { invalid, notSupported } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import type { Services } from "./services.ts";

const SIGNAL_MAX = 64;
const SIGRTMIN_PLUS_4 = 38;
/** For a machine to end after it was asked to; nobody waits for it here. */
const TIMEOUT_MS = 90_000;

/** Signals for one process, all, or who supervises it. */
export async function killOnBus(machine: BusMachine, who: string, signal: number, services: Services): Promise<void> {
  if (!["leader", "all", "", "supervisor"].includes(who)) throw invalid(`Invalid kill parameter '${who}'`);
  if (signal < 1 || signal > SIGNAL_MAX) throw invalid(`Invalid signal ${signal}`);
  const { name, record, foreign } = machine;
  // systemd 257 knows no such word; 258 has it, for virtual machines.
  if (who === "supervisor")
    throw invalid(
      foreign
        ? `Machine ${name} is somebody else's.`
        : `Machine ${name} is supervised by berthd, which gets no signals by the bus.`,
    );
  // Which processes else are its is not known.
  if (foreign) return services.machines.registered.signal(name, signal);
  if (record === null) throw notSupported(`Nothing is known of machine ${name} that could get a signal.`);
  if (who !== "leader") return killIn(record, "all", signal);
  if (!(await asWish(machine, signal, services))) await signalMachine(record, signal);
}

/**
 * What `machinectl poweroff` and `reboot` send, which only systemd as PID 1 understands: others are asked in their own
 * way, and whoever restarts the machine knows that it is to stay down. To a command SIGINT is no reboot.
 */
async function asWish({ name, record }: BusMachine, signal: number, { manager }: Services): Promise<boolean> {
  if (signal === SIGRTMIN_PLUS_4) await manager.powerOff(name, false, TIMEOUT_MS);
  else if (signal === constants.signals.SIGINT && record?.init !== null) await manager.reboot(name);
  else return false;
  return true;
}
