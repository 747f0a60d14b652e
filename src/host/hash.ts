import { readFileSync } from "node:fs";

/**
 * FNV-1a (draft-eastlake-fnv) over 32-bit words: spreads names over numbers and notices damage, and withstands
 * nobody who looks for collisions. node:crypto would cost each start 5 ms (measured).
 */
export function hash32(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 ^ bytes.length;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = bytes.length & ~3;
  for (let at = 0; at < whole; at += 4) hash = Math.imul(hash ^ view.getInt32(at, true), 0x01000193);
  for (let at = whole; at < bytes.length; at++) hash = Math.imul(hash ^ view.getUint8(at), 0x01000193);
  // The multiplication carries upwards only: fold the high bits, in which the words' own high bits are, back in.
  hash ^= hash >>> 15;
  return Math.imul(hash, 0x2c1b3c6d) >>> 0;
}

/** 128 random bits as 32 hex digits, in the form of a version 4 UUID, as machine-id(5) wants it. */
export function randomId(): string {
  return readFileSync("/proc/sys/kernel/random/uuid", "latin1").trim().replaceAll("-", "");
}
