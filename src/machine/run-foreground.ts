import { onStopSignals, type StopSignal } from "../supervise/stop-signals.ts";
import { exitStatusOf } from "./exit-status.ts";
import { ForegroundBoot, type ForegroundOptions, requestOf } from "./foreground-boot.ts";
import { archiveBoot } from "./history.ts";
import type { Prepared } from "./prepare.ts";
import { RebootPause } from "./reboot-pause.ts";
import { sweep } from "./sweep.ts";

export type { ForegroundConsole } from "./foreground-boot.ts";

/** Runs a machine until it has ended, through its reboots. Returns the exit status of `berth run`. */
export async function runForeground(prepared: Prepared, options: ForegroundOptions): Promise<number> {
  let boot: ForegroundBoot | undefined;
  let asked: StopSignal | undefined;
  const { name } = prepared.spec;
  const pause = new RebootPause();
  // From before anything is made until nothing is left: a signal between two boots must not leave something behind.
  const release = onStopSignals((signal) => {
    asked = signal;
    boot?.stop(signal);
  });
  try {
    sweep(options.paths, options.say, (record, gone) => archiveBoot(record, gone, options.paths));
    for (let machine = prepared; ; machine = rebooting(prepared)) {
      const current = new ForegroundBoot(machine, await machine.plan(requestOf(options)), options);
      boot = current;
      // While it was planned.
      if (asked !== undefined) current.stop(asked);
      pause.booting();
      // Not before: from here on it can be started, as far as can be told.
      if (machine === prepared && options.console === "interactive" && prepared.spec.boot.value)
        options.say(`booting ${name}; ^] three times within a second kills it`);
      const outcome = await current.run(() => {
        options.say(`machine ${name} reboots`);
        return pause.rebooting(
          () => current.stopping,
          (seconds) => options.say(`machine ${name} was hardly up: it waits for ${seconds} s`),
        );
      });
      if (outcome.kind === "reboot" && !current.stopping) continue;
      await options.caller.flushed();
      return exitStatusOf(outcome);
    }
  } finally {
    options.caller.close();
    release();
  }
}

/** The same, as it is planned for its next boot. */
function rebooting(prepared: Prepared): Prepared {
  return { ...prepared, plan: (request) => prepared.plan({ ...request, reboot: true }) };
}
