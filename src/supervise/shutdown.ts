import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { ARCH } from "../sys/libc.ts";

/**
 * Whether PID 1 of a machine does something on a signal: the kernel drops every signal that it neither handles nor
 * blocks (pid_namespaces(7)), so a plain program as PID 1 can only be killed. An init has a handler, or it blocks the
 * signal and reads it from a signalfd (systemd), or it waits in sigwaitinfo(2).
 */
export function handlesSignal(pid: number, signal: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return isIn(status, "SigCgt", signal) || isIn(status, "SigBlk", signal) || waitsFor(pid, signal);
  } catch {
    return false; // it has just ended
  }
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
function waitsFor(pid: number, signal: number): boolean {
  const [call = "", address = ""] = readFileSync(`/proc/${pid}/syscall`, "utf8").split(" ");
  if (!(SIGNAL_WAITS[ARCH] as readonly string[]).includes(call)) return false;
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    const set = Buffer.alloc(8);
    readSync(memory, set, 0, set.length, BigInt(address));
    return hasBit(set.readBigUInt64LE(), signal);
  } finally {
    closeSync(memory);
  }
}
