import { UsageError } from "../errors.ts";
import type { Credential } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";
import type { Sourced } from "../spec/source.ts";
import { unescapeC } from "./unescape.ts";

/** A credential of the command line, and apart from it what must not get into a spec. */
export interface CredentialOption {
  readonly credential: Sourced<Credential>;
  /** Of one that is given literally. */
  readonly secret?: Buffer;
}

/** NAME_MAX of Linux, and of fds that services are passed by name (sd_listen_fds(3)). */
const ID_MAX = 255;

/**
 * --set-credential=ID:VALUE, VALUE with C-style escapes (systemd-nspawn(1)). What is secret is in no message: those end
 * in logs.
 */
export function setCredential(text: string): CredentialOption {
  const [id, value] = splitAtColon(text);
  const option = `--set-credential=${value === undefined ? "..." : `${id}:...`}`;
  if (value === undefined) throw new UsageError(`${option}: there is no ":"`, "--set-credential=ID:VALUE");
  requireId(id, option);
  const bytes = unescapeC(value);
  if (typeof bytes === "number")
    throw new UsageError(
      `${option}: unknown escape at character ${bytes + 1} of the value`,
      "one of \\a \\b \\f \\n \\r \\s \\t \\v \\\\ \\\" \\' \\xHH \\NNN \\uHHHH \\UHHHHHHHH; a backslash itself is \\\\",
    );
  const from = { kind: "value", size: bytes.length } as const;
  return { credential: { value: { id, from }, source: { from: "option", option } }, secret: bytes };
}

/**
 * --load-credential=ID[:PATH]: an absolute path, or the name of one of the credentials that berth's own service was
 * given, which are in `directory` ($CREDENTIALS_DIRECTORY).
 */
export function loadCredential(text: string, directory: string | undefined): CredentialOption {
  const [id, given = id] = splitAtColon(text);
  const option = `--load-credential=${text}`;
  requireId(id, option);
  const path = given.startsWith("/") ? given : inherited(given, directory, option);
  return { credential: { value: { id, from: { kind: "path", path } }, source: { from: "option", option } } };
}

function inherited(name: string, directory: string | undefined, option: string): string {
  const fault = credentialIdFault(name);
  if (fault !== undefined)
    throw new UsageError(`${option}: ${quote(name)} is no absolute path, and as a credential's name it ${fault}`);
  if (directory?.startsWith("/") === true) return `${directory}/${name}`;
  throw new UsageError(
    `${option}: ${quote(name)} is no absolute path, and berth itself was given no credentials`,
    "--load-credential=ID:/PATH; a service's LoadCredential= sets $CREDENTIALS_DIRECTORY",
  );
}

function requireId(id: string, option: string): void {
  const fault = credentialIdFault(id);
  if (fault !== undefined)
    throw new UsageError(
      `${option}: credential id ${quote(id)} ${fault}`,
      "a file name such as passwd.hashed-password.root",
    );
}

/** The rules of systemd.exec(5), LoadCredential=: a file's name of ASCII characters without colons. */
export function credentialIdFault(id: string): string | undefined {
  if (id === "") return "is empty";
  if (id === "." || id === "..") return "is no file name";
  if (id.length > ID_MAX) return `is longer than ${ID_MAX} characters`;
  if (!/^[ -~]*$/.test(id)) return "has characters that are not printable ASCII";
  return /[/:]/.test(id) ? 'contains "/" or ":"' : undefined;
}

function splitAtColon(text: string): [before: string, after: string | undefined] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}
