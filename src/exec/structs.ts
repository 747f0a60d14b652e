import type { WindowSize } from "../plan/step.ts";
import type { Pointer } from "../stage/segment.ts";
import { SYNC } from "../stage/stage-abi.ts";
import { SCM_RIGHTS, SOL_SOCKET } from "../sys/constants.ts";
import type { Compilation } from "./compilation.ts";

export function u32(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value >>> 0, index * 4);
  });
  return bytes;
}

/** struct winsize of tty_ioctl(4); nobody looks at the pixels. */
export function windowSize({ rows, columns }: WindowSize): Buffer {
  return u32([rows | (columns << 16), 0]);
}

/** 64-bit little-endian words as bytes, for structs that must be resident. */
export function wordsOf(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

/** struct msghdr with its iovec, 24 bytes of data {SYNC + number, pid, 0} and room for fds: the same for both directions. */
export function messageBuffer(
  c: Compilation,
  sync: number,
  count: number,
): { header: Pointer; data: Pointer; fds: Pointer } {
  const { asm } = c;
  const data = asm.words([SYNC + sync, 0, 0]);
  const iovec = asm.words([data, 24]);
  const length = 16 + count * 4;
  const control = asm.bytes(
    Buffer.concat([wordsOf([length]), u32([SOL_SOCKET, SCM_RIGHTS]), Buffer.alloc((count * 4 + 7) & ~7)]),
  );
  const header = asm.words([0, 0, iovec, 1, count === 0 ? 0 : control, count === 0 ? 0 : length, 0]);
  return { header, data, fds: { at: control.at + 16 } };
}
