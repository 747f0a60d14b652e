import { BerthError, errorCode } from "../errors.ts";
import { visible } from "../spec/quote.ts";

/** Where in the copy something failed; set once, at the innermost place. */
export class PlacedError extends BerthError {
  readonly path: readonly Buffer[];

  constructor(path: readonly Buffer[], cause: unknown) {
    const { message, hint } = cause as BerthError;
    super(message, { hint, cause });
    this.path = path;
  }
}

export function placed(error: unknown, path: readonly Buffer[]): unknown {
  if (error instanceof PlacedError || !(error instanceof BerthError || errorCode(error) !== undefined)) return error;
  return new PlacedError(path, error);
}

export function showPath(path: readonly Buffer[]): string {
  return visible(path.map(showName).join("/"));
}

/** Bytes that are no text are shown as such. */
function showName(name: Buffer): string {
  const text = name.toString("utf8");
  if (Buffer.from(text).equals(name)) return text;
  return [...name].map((byte) => (byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`)).join("");
}
