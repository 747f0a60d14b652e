/** Exit statuses of the command line. */
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

/** As org.freedesktop.machine1 and org.freedesktop.import1 call them, where they have a name for it. */
export type NamedKind =
  | "NoSuchMachine"
  | "NoSuchImage"
  | "NoSuchTransfer"
  | "MachineExists"
  | "ImageExists"
  | "Busy"
  | "InvalidArgs"
  | "AccessDenied"
  | "NotSupported"
  | "Timeout";

/** One of those, or what a system call would have answered: `EROFS`. */
export type ErrorKind = NamedKind | `E${Uppercase<string>}`;

/**
 * An error meant for the user: one sentence that names what failed and where, and, where there is something
 * to do about it, a hint. The command line prints `berth: <message>` and `hint: <hint>`, the bus sends the
 * message; nobody prints a stack trace of one.
 */
export class BerthError extends Error {
  readonly hint: string | undefined;
  /** Which of the failures that programs tell apart it is; undefined: any other. The bus makes an error name of it. */
  readonly kind: ErrorKind | undefined;
  /** Exit status of the command line; 1 = failed, 2 = wrong usage, 125-127 as in `docker run`. */
  readonly exitStatus: number;

  constructor(
    message: string,
    options: {
      readonly hint?: string | undefined;
      readonly exitStatus?: number;
      readonly cause?: unknown;
      readonly kind?: ErrorKind | undefined;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint;
    this.kind = options.kind;
    this.exitStatus = options.exitStatus ?? EXIT_FAILED;
  }
}

/** What was asked for is wrong in itself: exit status 2 of the command line, and to programs an argument that can't be. */
export class UsageError extends BerthError {
  constructor(message: string, hint?: string) {
    super(message, { hint, exitStatus: EXIT_USAGE, kind: "InvalidArgs" });
  }
}

/** The errno name (`ENOENT`) that a failed system call of Node or of ours carries; undefined for any other error. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** The same as a kind of error, whatever else is said of it. */
export function errnoKind(error: unknown): ErrorKind | undefined {
  const code = errorCode(error) ?? "";
  return isErrno(code) ? code : undefined;
}

/** Node's own codes, as ERR_INVALID_ARG_TYPE, and `errno 531` are none. */
function isErrno(code: string): code is `E${Uppercase<string>}` {
  return /^E[A-Z0-9]+$/.test(code);
}

/** Of a failure, and what failed while it was cleaned up after, the first: that is what it is about. */
export function firstError(error: unknown): unknown {
  return error instanceof SuppressedError ? firstError(error.suppressed) : error;
}

/** What a failed system call of Node or of ours says reads well as it is: what, errno, path. */
export function isSystemError(error: unknown): error is Error {
  return error instanceof Error && "syscall" in error;
}

/** For the end of a switch over a closed set: a forgotten case is a compile error here. */
export function never(value: never): never {
  throw new Error(`unexpected value ${JSON.stringify(value)}`);
}
