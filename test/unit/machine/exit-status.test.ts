import { expect, test } from "vitest";
import type { ExitRecord } from "../../../src/exec/exit-record.ts";
import { exitStatusOf, outcomeOf } from "../../../src/machine/exit-status.ts";

const record = (reason: ExitRecord["reason"], status: number): ExitRecord => ({ reason, status, pid: 1, time: 0 });

/** reboot(2), "Behavior inside PID namespaces": SIGHUP for a restart, SIGINT for halt and power-off. */
test.each([
  [record("exited", 0), { kind: "exited", status: 0 }, 0],
  [record("exited", 255), { kind: "exited", status: 255 }, 255],
  [record("killed", 9), { kind: "killed", signal: 9 }, 137],
  [record("dumped", 11), { kind: "killed", signal: 11 }, 139],
  [record("killed", 1), { kind: "reboot" }, 0],
  [record("killed", 2), { kind: "poweroff" }, 0],
  [null, { kind: "killed", signal: 9 }, 137],
] as const)("%j", (from, outcome, status) => {
  expect(outcomeOf(from)).toEqual(outcome);
  expect(exitStatusOf(outcome)).toBe(status);
});
