import { closeSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import { killCgroup } from "../exec/cgroup.ts";
import { words } from "../host/host-files.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import type { MachineRecord } from "./record.ts";
import { signalMachine } from "./signal-machine.ts";

const SIGKILL = 9;
/** Levels of cgroups that are looked through. */
const DEPTH_MAX = 64;

/** Sends a signal to a machine's PID 1, or to each process in it. */
export async function killIn(machine: MachineRecord, whom: "leader" | "all", signal: number): Promise<void> {
  if (whom === "leader") return signalMachine(machine, signal);
  const payload = join(machine.cgroup, "payload");
  if (signal === SIGKILL) killCgroup(payload);
  else signalAll(payload, signal);
}

/** What forks meanwhile may get away, as with any such signal. */
function signalAll(cgroup: string, signal: number, depth = 0): void {
  for (const pid of words(text(join(cgroup, "cgroup.procs")))) signalMember(Number(pid), cgroup, signal);
  if (depth < DEPTH_MAX) for (const child of children(cgroup)) signalAll(join(cgroup, child), signal, depth + 1);
}

/** Its pid may have become another process's before the pidfd was taken: what is still listed is no other. */
function signalMember(pid: number, cgroup: string, signal: number): void {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    if (errorCode(error) === "ESRCH") return;
    throw error;
  }
  try {
    if (words(text(join(cgroup, "cgroup.procs"))).includes(String(pid))) pidfdSendSignal(pidfd, signal);
  } finally {
    closeSync(pidfd);
  }
}

function children(cgroup: string): readonly string[] {
  try {
    return readdirSync(cgroup, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return []; // it has just gone
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
