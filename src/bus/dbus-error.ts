import { BerthError, type ErrorKind, errorCode, firstError, isSystemError, type NamedKind } from "../errors.ts";

const STANDARD = "org.freedesktop.DBus.Error";

/** An error as the bus has it: a name that programs tell apart, and one sentence for people. */
export class DBusError extends BerthError {
  /** As `org.freedesktop.DBus.Error.Failed`; of the standard ones the last part is enough: `Failed`. */
  readonly errorName: string;

  constructor(name: string, message: string, options: { readonly cause?: unknown; readonly hint?: string } = {}) {
    super(message, options);
    this.errorName = name.includes(".") ? name : `${STANDARD}.${name}`;
  }
}

/** As systemd 257 calls them, which has no names of its own for the last ones but those of errno. */
const NAMES: Readonly<Record<NamedKind, string>> = {
  NoSuchMachine: "org.freedesktop.machine1.NoSuchMachine",
  NoSuchImage: "org.freedesktop.machine1.NoSuchImage",
  NoSuchTransfer: "org.freedesktop.import1.NoSuchTransfer",
  MachineExists: "org.freedesktop.machine1.MachineExists",
  ImageExists: `${STANDARD}.FileExists`,
  Busy: "System.Error.EBUSY",
  InvalidArgs: `${STANDARD}.InvalidArgs`,
  AccessDenied: `${STANDARD}.AccessDenied`,
  NotSupported: `${STANDARD}.NotSupported`,
  Timeout: `${STANDARD}.Timeout`,
};

/** What sd_bus_error_set_errno(3) calls some of them; all others are System.Error.ENAME. */
const ERRNO_NAMES: Readonly<Record<string, string>> = {
  EACCES: "AccessDenied",
  EADDRINUSE: "AddressInUse",
  EADDRNOTAVAIL: "BadAddress",
  EBADMSG: "InconsistentMessage",
  ECONNABORTED: "Disconnected",
  ECONNRESET: "Disconnected",
  EEXIST: "FileExists",
  EINVAL: "InvalidArgs",
  EIO: "IOError",
  ENETRESET: "Disconnected",
  ENOBUFS: "LimitsExceeded",
  ENOENT: "FileNotFound",
  ENOMEM: "NoMemory",
  ENOTSUP: "NotSupported",
  EOPNOTSUPP: "NotSupported",
  EPERM: "AccessDenied",
  ESRCH: "UnixProcessIdUnknown",
  ETIME: "Timeout",
  ETIMEDOUT: "Timeout",
};

/** As `org.freedesktop.DBus.Error.FileNotFound` of ENOENT, and `System.Error.EROFS` of EROFS. */
export function errnoErrorName(code: string): string {
  const name = Object.hasOwn(ERRNO_NAMES, code) ? ERRNO_NAMES[code] : undefined;
  if (name !== undefined) return `${STANDARD}.${name}`;
  // One that has no name (`errno 531`), and what is none.
  return /^E[A-Z0-9]+$/.test(code) ? `System.Error.${code}` : `${STANDARD}.Failed`;
}

function nameOf(kind: ErrorKind): string {
  return Object.hasOwn(NAMES, kind) ? NAMES[kind as NamedKind] : errnoErrorName(kind);
}

/** What a caller is told. Undefined: the error is none that was meant for anybody, so it should be logged. */
export function answerableError(thrown: unknown): { readonly name: string; readonly text: string } | undefined {
  const error = firstError(thrown);
  if (error instanceof DBusError) return { name: error.errorName, text: sentence(error.message) };
  const text = error instanceof Error ? sentence(error.message) : "";
  if (error instanceof BerthError && error.kind !== undefined) return { name: nameOf(error.kind), text };
  if (isSystemError(error)) return { name: errnoErrorName(errorCode(error) ?? ""), text };
  return error instanceof BerthError ? { name: `${STANDARD}.Failed`, text } : undefined;
}

/** What is on one line: a message may quote others' output, and has no place for traces. A NUL can't be sent. */
function sentence(message: string): string {
  return message.split("\n")[0]?.replaceAll("\0", " ") ?? "";
}
