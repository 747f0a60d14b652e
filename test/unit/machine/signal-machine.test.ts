import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { processId } from "../../../src/host/process-id.ts";
import type { MachineRecord } from "../../../src/machine/record.ts";
import { signalMachine, whenEnded } from "../../../src/machine/signal-machine.ts";

/** A machine as far as signals go. */
function machineOf(leader: MachineRecord["leader"], supervisor: MachineRecord["supervisor"]): MachineRecord {
  return { leader, supervisor } as MachineRecord;
}

const gone = { pid: 0x3fffffff, startTime: "1" };

test("one whose init has ended is waited for all the same: its supervisor clears up", async () => {
  const supervisor = spawn("sleep", ["1000"]);
  await once(supervisor, "spawn");
  let ended = false;
  const done = whenEnded(machineOf(gone, processId(supervisor.pid ?? -1))).then(() => {
    ended = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(ended).toBe(false);
  supervisor.kill("SIGKILL");
  await done;
});

test("one that is gone altogether has ended", async () => {
  await signalMachine(machineOf(gone, gone), 9);
  await whenEnded(machineOf(gone, gone));
});

test("a process that has a pid of the machine's by now gets no signal", async () => {
  const stranger = spawn("sleep", ["1000"]);
  await once(stranger, "spawn");
  const reused = { pid: stranger.pid ?? -1, startTime: "1" };
  await signalMachine(machineOf(reused, reused), 9);
  await whenEnded(machineOf(reused, reused));
  expect(stranger.kill("SIGTERM")).toBe(true);
  expect(await once(stranger, "exit")).toEqual([null, "SIGTERM"]);
});
