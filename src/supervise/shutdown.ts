import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { monotonic } from "../sys/clock.ts";
import { ARCH } from "../sys/libc.ts";

/** What runs without a pause for so long isn't just on its way into or out of sigwaitinfo(2), however busy the host is. */
const RUNNING_MAX_MS = 250;
const LOOK_MS = 2;

/**
 * Whether PID 1 of a machine does something on a signal: the kernel drops every signal that it neither handles nor
 * blocks (pid_namespaces(7)), so a plain program as PID 1 can only be killed. An init has a handler, or it blocks the
 * signal and reads it from a signalfd (systemd), or it waits in sigwaitinfo(2).
 */
export async function handlesSignal(pid: number, signal: number): Promise<boolean> {
  const deadline = monotonic() + RUNNING_MAX_MS;
  try {
    if (readsSignal(pid, signal)) return true;
    for (;;) {
      const call = systemCall(pid);
      if (readsSignal(pid, signal) || waitsFor(pid, call, signal)) return true;
      // Who runs may be in sigwaitinfo already, where the mask is another and no call is shown yet: not "no" from that.
      const still = call !== "running" && call === systemCall(pid);
      if (still || monotonic() > deadline) return false;
      await sleep(LOOK_MS);
    }
  } catch {
    return false; // it has just ended, or may not be looked into
  }
}

/** By a handler or a signalfd. */
function readsSignal(pid: number, signal: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return isIn(status, "SigCgt", signal) || isIn(status, "SigBlk", signal);
}

/**
 * proc_pid_syscall(5): "running", or the call's number, its arguments in hexadecimal, and where it was made. It is only read where the rest does
 * not tell: with kernel.yama.ptrace_scope=3 nobody may.
 */
function systemCall(pid: number): string {
  return readFileSync(`/proc/${pid}/syscall`, "utf8").trim();
}

function isIn(status: string, set: "SigCgt" | "SigBlk", signal: number): boolean {
  const bits = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1];
  return bits !== undefined && hasBit(BigInt(`0x${bits}`), signal);
}

function hasBit(set: bigint, signal: number): boolean {
  return ((set >> BigInt(signal - 1)) & 1n) === 1n;
}

/** rt_sigtimedwait, and of 32-bit programs its two forms (asm/unistd.h). */
const SIGNAL_WAITS = { x64: ["128", "177", "421"], arm64: ["137", "177", "421"] } as const;

/** While it waits the kernel shows the signals that it waits for as not blocked: so the call's own argument tells. */
function waitsFor(pid: number, call: string, signal: number): boolean {
  const [number = "", address = ""] = call.split(" ");
  if (!(SIGNAL_WAITS[ARCH] as readonly string[]).includes(number)) return false;
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    const set = Buffer.alloc(8);
    readSync(memory, set, 0, set.length, BigInt(address));
    return hasBit(set.readBigUInt64LE(), signal);
  } finally {
    closeSync(memory);
  }
}
