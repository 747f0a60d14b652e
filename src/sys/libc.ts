import { constants } from "node:os";
import { SysError } from "./errno.ts";
import koffi from "./koffi.ts";

/**
 * The one door to libc. Everything else in src/sys is a thin typed wrapper over a function bound here: call,
 * and throw a SysError that names the call and its subject when it failed.
 *
 * Buffers handed to a function are read by the kernel during the call only, so a Buffer that is alive in the
 * caller's frame is alive long enough; where a struct holds the address of another Buffer the wrapper keeps both.
 */
const libc = koffi.load("libc.so.6");

type Native = (...args: readonly unknown[]) => number;

/** Binds a libc function at its first call: a binding costs about 30 us, and most runs use a few of them. */
export function bind(signature: string): Native {
  let bound: Native | undefined;
  return (...args) => {
    bound ??= libc.func(signature) as Native;
    return Number(bound(...args));
  };
}

/** The same for what is called ten thousand times in a row; bound at once. Only where a number can't be too large for one. */
export function bindPlain(signature: string): Native {
  return libc.func(signature) as Native;
}

/** The same by a thread of its own, for what takes long; throws as `check` does. */
export function bindThreaded(
  signature: string,
): (syscall: string, options: { path?: string }, ...args: readonly unknown[]) => Promise<number> {
  let bound: ReturnType<typeof libc.func> | undefined;
  return (syscall, options, ...args) =>
    new Promise((resolve, reject) => {
      bound ??= libc.func(signature);
      bound.async(...args, (error: Error | null, result: number) => {
        try {
          if (error !== null) throw error;
          resolve(check(Number(result), syscall, options)); // at once, while errno is that of this call
        } catch (failed) {
          reject(failed instanceof Error ? failed : new Error(String(failed)));
        }
      });
    });
}

/** Throws when `result` says that `syscall` failed (-1 and errno, as libc does it); returns it otherwise. */
export function check(result: number, syscall: string, options: { path?: string; subject?: string } = {}): number {
  if (result < 0) throw failure(syscall, options);
  return result;
}

/** The error of the call that failed just now. */
export function failure(syscall: string, options: { path?: string; subject?: string } = {}): SysError {
  return new SysError(syscall, koffi.errno(), options);
}

export type ErrorName = keyof typeof constants.errno;

/** Whether errno, after a call that failed, is one of these that the caller deals with itself. */
export function failedWith(...names: readonly ErrorName[]): boolean {
  const errno = koffi.errno();
  return names.some((name) => constants.errno[name] === errno);
}

/** The address of a Buffer, for a struct that points to it. */
export function address(buffer: Buffer): bigint {
  return koffi.address(buffer);
}

/** As a number, for a call that takes one for a pointer: addresses have 47 bits. */
export function addressOf(buffer: Buffer): number {
  return Number(koffi.address(buffer));
}

/** Native memory that stays where it is for the life of the process, unlike small Buffers that share a pool. */
export function pinned(size: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(size);
  buffer.fill(0);
  return buffer;
}

/** Node's pair of architectures, as the kernel constants and system call numbers are keyed. */
export const ARCH: "x64" | "arm64" = process.arch === "arm64" ? "arm64" : "x64";
