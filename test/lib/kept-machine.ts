/**
 * A machine that another process has launched, as a daemon's are: that process can be killed while it runs.
 *
 *   const kept = await launchInChild({ directory, root: tree, command: probe("init", "--term") });
 *   kept.leader, kept.keeper                    // { pid, startTime }
 *   await kept.kill();                          // SIGKILL for the process that has launched it
 *   kept.machine.plan, consoleLog(kept.machine) // as of one launched here
 *   await launchKilledAt(options, "leader");    // ... and killed as soon as the launch has that fd; or after so many ms
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { type ProcessId, processId } from "../../src/host/process-id.ts";
import { bundled } from "./bundled.ts";
import { type MachineOptions, type TestMachine, testMachine } from "./launch.ts";

export interface KeptMachine {
  readonly machine: TestMachine;
  readonly leader: ProcessId;
  readonly keeper: ProcessId;
  kill(): Promise<void>;
}

/** In the background, unless `request` says otherwise. The process says the pids and then waits to be killed. */
export async function launchInChild(options: MachineOptions): Promise<KeptMachine> {
  const { child, exited } = start(options);
  const line = await Promise.race([once(child.stdout, "data"), exited.then(() => undefined)]);
  if (line === undefined) throw new Error("the launch in a process of its own failed: see above");
  const pids = JSON.parse(String(line[0])) as { leader: number; keeper: number };
  return {
    machine: testMachine(options),
    leader: processId(pids.leader),
    keeper: processId(pids.keeper),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Launches in a process that is killed as soon as it has the fd of that name, or after so many ms. */
export async function launchKilledAt(options: MachineOptions, at: string | number): Promise<void> {
  const { child, exited } = start(options, at);
  await once(child.stdout, "data");
  if (typeof at === "number") {
    await sleep(at);
    child.kill("SIGKILL");
  }
  const [, signal] = await exited;
  if (signal !== "SIGKILL") throw new Error(`the launch that was to be killed ended by itself: ${signal}`);
}

function start(options: MachineOptions, at?: string | number) {
  const words = [bundled("launch-of-own"), JSON.stringify(options), ...(at === undefined ? [] : [String(at)])];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  return { child, exited: once(child, "exit") };
}
