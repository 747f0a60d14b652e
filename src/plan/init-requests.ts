import { signalNumber } from "../spec/signals.ts";
import type { InitKind } from "./facts.ts";
import type { PlanInput } from "./input.ts";

/** What can be PID 1 of a machine: an init of its tree, or the stage's stub for ProcessTwo=. */
export type InitName = InitKind | "stub";

/** How an init is asked for something: by a signal, or by words of a program that tells it, run in the machine. */
export type InitRequest = { readonly signal: number } | { readonly command: readonly string[] };

interface Row {
  readonly poweroff: Way;
  readonly reboot: Way;
}
/** Name of a signal, or the words of a program, to which the init's own path may belong. */
type Way = string | ((init: string) => readonly string[]);

/**
 * The signals are those of the inits' manual pages and sources. sysvinit has none: SIGPWR runs what inittab(5) says for
 * a power failure, which in Debian is nothing. runit has SIGCONT, but looks at files of its own on it that runit-init(8)
 * makes. Both are told by the program that is the init, as telinit.
 */
const INITS: Readonly<Record<InitName, Row>> = {
  stub: { poweroff: "SIGRTMIN+3", reboot: "SIGRTMIN+5" }, // stage.c
  systemd: { poweroff: "SIGRTMIN+3", reboot: "SIGINT" }, // systemd(1): halt.target, ctrl-alt-del.target
  sysvinit: { poweroff: (init) => [init, "0"], reboot: (init) => [init, "6"] },
  openrc: { poweroff: "SIGTERM", reboot: "SIGINT" }, // openrc-init.c, signal_handler
  runit: { poweroff: (init) => [init, "0"], reboot: (init) => [init, "6"] },
  busybox: { poweroff: "SIGUSR2", reboot: "SIGTERM" }, // init/init.c
  other: { poweroff: "SIGTERM", reboot: "SIGINT" }, // SIGINT: what Ctrl-Alt-Del sends
};

export function isInitName(value: unknown): value is InitName {
  return typeof value === "string" && Object.hasOwn(INITS, value);
}

/** Null: PID 1 is a plain command. */
export function initName({ spec, machine }: PlanInput): InitName | null {
  if (spec.processTwo.value) return "stub";
  return spec.boot.value ? (machine.tree.init?.kind ?? "other") : null;
}

/** KillSignal= says how a machine is asked to power off, whatever its init is. */
export function initRequests(input: PlanInput): { readonly poweroff: InitRequest; readonly reboot: InitRequest } {
  const row = INITS[initName(input) ?? "other"];
  const path = input.machine.tree.init?.path ?? "/sbin/init";
  const killSignal = input.spec.killSignal.value;
  return {
    poweroff: killSignal === undefined ? request(row.poweroff, path) : { signal: killSignal },
    reboot: request(row.reboot, path),
  };
}

function request(way: Way, path: string): InitRequest {
  if (typeof way !== "string") return { command: way(path) };
  const signal = signalNumber(way);
  if (signal === undefined) throw new Error(`no signal is called ${way}`);
  return { signal };
}
