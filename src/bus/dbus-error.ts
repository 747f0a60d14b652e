import { BerthError, type ErrorKind, firstError, isSystemError } from "../errors.ts";

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
const NAMES: Readonly<Record<ErrorKind, string>> = {
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

/** What a caller is told. Undefined: the error is none that was meant for anybody, so it should be logged. */
export function answerableError(thrown: unknown): { readonly name: string; readonly text: string } | undefined {
  const error = firstError(thrown);
  if (error instanceof DBusError) return { name: error.errorName, text: sentence(error.message) };
  if (error instanceof BerthError)
    return { name: error.kind ? NAMES[error.kind] : `${STANDARD}.Failed`, text: sentence(error.message) };
  if (isSystemError(error)) return { name: `${STANDARD}.Failed`, text: sentence(error.message) };
  return undefined;
}

/** What is on one line: a message may quote others' output, and has no place for traces. A NUL can't be sent. */
function sentence(message: string): string {
  return message.split("\n")[0]?.replaceAll("\0", " ") ?? "";
}
