import { BerthError } from "../errors.ts";

/**
 * The sockets of a D-Bus address ("Server Addresses"), in the order in which they are to be tried: paths, or abstract
 * names that begin with NUL. Transports other than unix sockets are passed over.
 * @throws BerthError when nothing is left, or what is there is no address
 */
export function socketsOf(address: string): string[] {
  const sockets = address
    .split(";")
    .filter((part) => part !== "")
    .flatMap((part) => socketOf(part, address));
  if (sockets.length === 0)
    throw new BerthError(`the bus address "${address}" names no unix socket`, {
      hint: "berth can use unix:path=... and unix:abstract=...",
    });
  return sockets;
}

function socketOf(part: string, address: string): string[] {
  const colon = part.indexOf(":");
  if (colon <= 0) throw new BerthError(`the bus address "${address}" has no transport before a colon`);
  if (part.slice(0, colon) !== "unix") return [];
  const keys = new Map(
    part
      .slice(colon + 1)
      .split(",")
      .filter((pair) => pair !== "")
      .map((pair) => {
        const equals = pair.indexOf("=");
        if (equals <= 0) throw new BerthError(`the bus address "${address}" has "${pair}" in the place of KEY=VALUE`);
        return [pair.slice(0, equals), unescaped(pair.slice(equals + 1), address)];
      }),
  );
  const [path, name] = [keys.get("path"), keys.get("abstract")];
  if (path !== undefined) return [path];
  return name === undefined ? [] : [`\0${name}`];
}

function unescaped(value: string, address: string): string {
  const bytes: Buffer[] = [];
  for (const [piece] of value.matchAll(/%[0-9a-fA-F]{2}|[^%]+|%/g)) {
    if (piece === "%") throw new BerthError(`the bus address "${address}" has a % without two hexadecimal digits`);
    bytes.push(piece.startsWith("%") ? Buffer.from(piece.slice(1), "hex") : Buffer.from(piece));
  }
  return Buffer.concat(bytes).toString();
}

/** The address of a socket at a path. */
export function addressOf(path: string): string {
  const escaped = [...Buffer.from(path)].map((byte) => {
    const character = String.fromCharCode(byte);
    return /[-0-9A-Za-z_/.\\*]/.test(character) ? character : `%${byte.toString(16).padStart(2, "0")}`;
  });
  return `unix:path=${escaped.join("")}`;
}
