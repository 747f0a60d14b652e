import { readFileSync } from "node:fs";
import type { InitKind } from "../plan/facts.ts";
import { signalNumber } from "../spec/signals.ts";

/** What makes an init shut its machine down, where KillSignal= does not say. */
const STOP_SIGNALS: Readonly<Record<InitKind, string>> = {
  systemd: "SIGRTMIN+3", // systemd(1), SIGNALS: starts halt.target
  sysvinit: "SIGPWR",
  openrc: "SIGINT",
  runit: "SIGCONT",
  busybox: "SIGUSR2", // its init: power off
  other: "SIGTERM",
};

export function stopSignal(killSignal: number | undefined, init: InitKind | undefined): number {
  return killSignal ?? signalNumber(STOP_SIGNALS[init ?? "other"]) ?? 15;
}

/** SIGINT makes systemd reboot (systemd(1)), and other inits too: it is what Ctrl-Alt-Del sends them. */
export const REBOOT_SIGNAL = 2;

/**
 * Whether PID 1 of a machine does something on a signal: the kernel drops every signal it has no handler for
 * (pid_namespaces(7)), so a plain program as PID 1 can only be killed.
 */
export function handlesSignal(pid: number, signal: number): boolean {
  try {
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return caught !== undefined && ((BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n) === 1n;
  } catch {
    return false; // it has just ended
  }
}
