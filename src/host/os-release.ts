/**
 * os-release(5): `NAME=value` lines in the quoting of the shell, without expansion. A line that is none is left
 * out, as systemd does. Names are upper case, so no key can be `__proto__`.
 */
export function parseOsRelease(text: string): Readonly<Record<string, string>> {
  const fields: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const [, name, value] = /^\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    const plain = unquote(value);
    if (plain !== null) fields[name] = plain;
  }
  return fields;
}

/** Null: a quote is not closed. */
function unquote(value: string): string | null {
  let plain = "";
  let quote = "";
  for (let i = 0; i < value.length; i++) {
    const char = value.charAt(i);
    if (char === quote) quote = "";
    else if (quote === "" && (char === '"' || char === "'")) quote = char;
    else if (char === "\\" && quote !== "'") {
      const next = value.charAt(++i);
      // Inside double quotes the shell keeps the backslash before any other character.
      plain += quote === "" || '$"\\`'.includes(next) ? next : `\\${next}`;
    } else if (quote === "" && /\s/.test(char)) return null;
    else plain += char;
  }
  return quote === "" ? plain : null;
}

/** Where os-release(5) says to look, the first that exists counts. */
export const OS_RELEASE_PATHS = ["/etc/os-release", "/usr/lib/os-release"] as const;
