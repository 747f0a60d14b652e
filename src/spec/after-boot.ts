import type { MachineSpec } from "./machine-spec.ts";
import { showSource } from "./source.ts";

/** What the settings say that no step of a start shows: what berthd does with the machine later. A line for each that is set. */
export function afterBoot(spec: MachineSpec): readonly string[] {
  const time = (ms: number | null): string => (ms === null ? "infinity" : ms < 1000 ? `${ms}ms` : `${ms / 1000}s`);
  const settings = [
    { key: "Restart", ...spec.restart },
    { key: "RestartSec", ...spec.restartDelay, value: time(spec.restartDelay.value) },
    { key: "StartLimitBurst", ...spec.startBurst },
    { key: "StartLimitIntervalSec", ...spec.startInterval, value: time(spec.startInterval.value) },
    { key: "TimeoutStartSec", ...spec.startTimeout, value: time(spec.startTimeout.value) },
    { key: "TimeoutStopSec", ...spec.stopTimeout, value: time(spec.stopTimeout.value) },
  ];
  return settings
    .filter(({ source }) => source.from !== "default")
    .map(({ key, value, source }) => `${key}=${value} [${showSource(source)}]`);
}
