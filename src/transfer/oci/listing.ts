import { createReadStream } from "node:fs";

/**
 * What tar(1) says it unpacks (extract.ts: `listing`), which tells directories that a layer has from those that tar(1) made on the way
 * to what is in them: no time does, as the clock of whoever made the layer may be ahead, or ours behind.
 */

/** Takes all that is listed away from `paths`: by path, a character a byte (latin1). Read in pieces, as there may be any number. */
export async function strikeListed(file: string, paths: Map<string, unknown>, signal: AbortSignal): Promise<void> {
  let pending = "";
  for await (const chunk of createReadStream(file, { encoding: "latin1", signal })) {
    const lines = (pending + String(chunk)).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) paths.delete(listedPath(line));
  }
}

/** `block 7: ./usr//share/` is `usr/share`; the root is nothing. Of the archive's end it makes a path that no layer has. */
export function listedPath(line: string): string {
  const name = unescaped(line.replace(/^block \d+: /, ""));
  return name
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
}

const LETTERS: Readonly<Record<string, string>> = {
  ...{ a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" },
};

/** Of --quoting-style=escape. */
function unescaped(name: string): string {
  return name.replace(/\\([0-7]{3}|.)/g, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (LETTERS[code] ?? code),
  );
}
