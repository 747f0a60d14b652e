import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { isAlive } from "../host/process-id.ts";
import type { InitName, InitRequest } from "../plan/init-requests.ts";
import { printable } from "../spec/quote.ts";
import { signalName } from "../spec/signals.ts";
import { isBooted, LOOK_MS } from "../supervise/init-boot.ts";
import { handlesSignal } from "../supervise/shutdown.ts";
import { monotonic } from "../sys/clock.ts";
import { runIn } from "./capture.ts";
import type { MachineRecord } from "./record.ts";
import { signalMachine } from "./signal-machine.ts";

/** A program that tells an init something may wait for it a little: telinit(8) of sysvinit for 3 s. */
const TIME_MAX_MS = 10_000;

/**
 * Asks a machine's init to power off or reboot, and does not wait for that.
 * @throws BerthError when it can't be asked: a wait for what comes of it would have no end
 */
export async function askInit(machine: MachineRecord, wish: keyof MachineRecord["requests"], paths: Paths) {
  const fault = await sendRequest(machine, machine.requests[wish], paths);
  if (fault === undefined) return;
  const other = wish === "poweroff" ? "; KillSignal= says which signal stops it" : "";
  throw new BerthError(`machine ${machine.name} can't be asked: ${fault}`, {
    hint: `berth terminate ${machine.name} kills it${other}`,
  });
}

/** runit drops what it is told during its boot; openrc-init breaks off services that then wait for each other for minutes. */
const ASKED_LATE: ReadonlySet<InitName> = new Set(["runit", "openrc"]);
/** A boot may hang: then it is asked all the same. */
const BOOT_MAX_MS = 60_000;

async function whenBooted({ init, leader }: MachineRecord): Promise<void> {
  const deadline = monotonic() + BOOT_MAX_MS;
  while (isAlive(leader) && !isBooted(init, leader.pid) && monotonic() < deadline) await sleep(LOOK_MS);
}

/** Resolves when it has been sent, to what is wrong if it could not be; a machine that has ended needs none. */
export async function sendRequest(
  machine: MachineRecord,
  request: InitRequest,
  paths: Paths,
): Promise<string | undefined> {
  if (machine.init !== null && ASKED_LATE.has(machine.init)) await whenBooted(machine);
  const fault = (await deafness(machine, request)) ?? (await send(machine, request, paths));
  return isAlive(machine.leader) ? fault : undefined;
}

/** Why PID 1 would not notice: the kernel drops a signal that it does not handle. */
export async function deafness({ leader }: MachineRecord, request: InitRequest): Promise<string | undefined> {
  if (!("signal" in request) || (await handlesSignal(leader.pid, request.signal))) return undefined;
  return `its PID 1 does not handle ${signalName(request.signal)}`;
}

async function send(machine: MachineRecord, request: InitRequest, paths: Paths): Promise<string | undefined> {
  if ("command" in request) return run(machine, request.command, paths);
  await signalMachine(machine, request.signal);
  return undefined;
}

async function run(machine: MachineRecord, command: readonly string[], paths: Paths): Promise<string | undefined> {
  const words = printable(command.join(" "));
  try {
    const answer = await runIn(machine, command, paths, { time: TIME_MAX_MS, stderr: true });
    if (answer === undefined) return `${words} can't be executed in it`;
    if (answer.status === 0) return undefined;
    const said = answer.said.trim().split("\n").at(-1) ?? "";
    return `${words} in it failed with status ${answer.status}${said === "" ? "" : `: ${printable(said)}`}`;
  } catch (error) {
    if (error instanceof BerthError) return error.message;
    throw error;
  }
}
