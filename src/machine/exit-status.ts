import type { ExitStatus } from "../sys/processes.ts";

const SIGHUP = 1;
const SIGINT = 2;

export type Outcome =
  | { readonly kind: "reboot" }
  | { readonly kind: "poweroff" }
  | { readonly kind: "exited"; readonly status: number }
  | { readonly kind: "killed"; readonly signal: number };

/**
 * What the end of a machine's init means. In a pid namespace reboot(2) ends PID 1 itself: with SIGHUP for a restart and with SIGINT
 * for halt and power-off (reboot(2), "Behavior inside PID namespaces").
 */
export function outcomeOf(exit: ExitStatus | null): Outcome {
  if (exit === null) return { kind: "killed", signal: 9 };
  if (exit.reason === "exited") return { kind: "exited", status: exit.status };
  if (exit.status === SIGHUP) return { kind: "reboot" };
  return exit.status === SIGINT ? { kind: "poweroff" } : { kind: "killed", signal: exit.status };
}

/** Of `berth run`: the payload's own, 128+N for a signal; a machine that powered itself off has done what it should. */
export function exitStatusOf(outcome: Outcome): number {
  switch (outcome.kind) {
    case "exited":
      return outcome.status;
    case "killed":
      return 128 + outcome.signal;
    case "poweroff":
    case "reboot":
      return 0;
  }
}
