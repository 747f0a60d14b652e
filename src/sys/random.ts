import { bind, check, pinned } from "./libc.ts";

const getrandom = bind("long getrandom(void *buffer, size_t length, uint flags)");
const BYTES = 16;
const bytes = pinned(BYTES);

/** 128 random bits as 32 hex digits, in the form of a version 4 UUID as machine-id(5) wants it. */
export function randomId(): string {
  check(getrandom(bytes, BYTES, 0), "getrandom");
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString("hex");
}
