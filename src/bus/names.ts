/** What the D-Bus specification allows as names ("Valid Names"). */

const MAX_NAME = 255;
const ELEMENT = /^[A-Za-z_][A-Za-z0-9_]*$/;
const INTERFACE = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$/;
const BUS_NAME = /^([A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+|:[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+)$/;
const PATH = /^(\/|(\/[A-Za-z0-9_]+)+)$/;

export function isObjectPath(text: string): boolean {
  return PATH.test(text);
}

export function isMember(text: string): boolean {
  return text.length <= MAX_NAME && ELEMENT.test(text);
}

/** Of errors, too. */
export function isInterface(text: string): boolean {
  return text.length <= MAX_NAME && INTERFACE.test(text);
}

export function isBusName(text: string): boolean {
  return text.length <= MAX_NAME && BUS_NAME.test(text);
}

/** A name as an element of an object path, in the way of sd_bus_path_encode(3): `a-b` is `a_2db`, `` is `_`. */
export function escapeElement(name: string): string {
  if (name === "") return "_";
  const bytes = [...Buffer.from(name)].map((byte, index) => {
    const character = String.fromCharCode(byte);
    const plain = /[A-Za-z]/.test(character) || (index > 0 && /[0-9]/.test(character));
    return plain ? character : `_${byte.toString(16).padStart(2, "0")}`;
  });
  return bytes.join("");
}

/** The name of an element; undefined: nothing is escaped like that. */
export function unescapeElement(element: string): string | undefined {
  if (element === "_") return "";
  const bytes: number[] = [];
  for (let at = 0; at < element.length; at++) {
    if (element[at] !== "_") {
      bytes.push(element.charCodeAt(at));
      continue;
    }
    const code = element.slice(at + 1, at + 3);
    if (!/^[0-9a-f]{2}$/i.test(code)) return undefined;
    bytes.push(Number.parseInt(code, 16));
    at += 2;
  }
  return Buffer.from(bytes).toString();
}
