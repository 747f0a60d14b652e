/**
 * Renders the little markup of the manual's texts as man(7) macros:
 *
 *   # HEADING, ## HEADING      a section, a subsection
 *   text text                  a paragraph; a blank line ends a block
 *   term                       a definition: one line or more of terms, then the text
 *   : text text
 *       code                   an example, indented by four spaces
 *
 * In all but examples *x* and `x` are literal (bold) and _X_ stands for something else (italic).
 */
export function toRoff(markup: string): string {
  const blocks = markup.split(/\n{2,}/).filter((block) => block.trim() !== "");
  // A heading begins a paragraph by itself.
  return `${blocks.flatMap(block).join("\n")}\n`.replaceAll(/^(\.S[HS] .*)\n\.PP$/gm, "$1");
}

/**
 * The page's first lines: no hyphenation, which would cut options in two, no spaces to fill lines or between sentences.
 * No date: the version tells as much.
 */
export function title(name: string, section: number, version: string): string {
  return `.nr HY 0\n.TH ${name.toUpperCase()} ${section} "" "berth ${version}"\n.ad l\n.ss 12 0\n`;
}

function block(text: string): readonly string[] {
  const lines = text.replace(/^\n+|\n+$/g, "").split("\n");
  const [first = ""] = lines;
  const heading = /^(##?) (.*)$/.exec(text.trim());
  if (heading !== null) return [`${heading[1] === "#" ? ".SH" : ".SS"} ${escaped(plain(heading[2] ?? ""), false)}`];
  if (first.startsWith("    "))
    return [".RS 4", ".EX", ...lines.map((line) => protect(escaped(line.slice(4), true))), ".EE", ".RE"];
  const colon = lines.findIndex((line) => line.startsWith(": "));
  if (colon < 0) return [".PP", ...wrap(lines.join(" "))];
  const terms = lines.slice(0, colon).flatMap((term, index) => [index === 0 ? ".TP" : ".TQ", protect(inline(term))]);
  return [...terms, ...wrap(lines.slice(colon).join(" ").slice(2))];
}

const WIDTH = 80;

/** Lines of the source; how wide the reader's are is the reader's choice. */
function wrap(text: string): readonly string[] {
  const lines = [""];
  for (const word of inline(text).trim().split(/\s+/)) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + word.length >= WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map(protect);
}

/** A line that begins like a request is none. */
function protect(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

/** Marks stand around whole words: `BERTH_ROOT`, `a*b` and `/*.conf` have none. */
const MARKED = /`([^`]+)`|(?<![A-Za-z0-9/])([*_])([^\s*_](?:.*?[^\s])??)\2(?![A-Za-z0-9])/g;

function inline(text: string): string {
  let out = "";
  let from = 0;
  for (const match of text.matchAll(MARKED)) {
    const [all, quoted, mark, marked] = match;
    const font = mark === "_" ? "I" : "B";
    out += `${escaped(text.slice(from, match.index), false)}\\f${font}${escaped(quoted ?? marked ?? "", true)}\\fR`;
    from = match.index + all.length;
  }
  return out + escaped(text.slice(from), false);
}

function plain(text: string): string {
  return text.replace(MARKED, (_, quoted, __, marked) => quoted ?? marked);
}

/** ASCII that troff would change or take for its own, groff_char(7). */
const SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "'": "\\(aq",
  '"': "\\(dq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

/** A hyphen of what is to be typed is a minus to troff; in words it stays one, where a line may be broken. */
function escaped(text: string, literal: boolean): string {
  const pattern = literal ? /[\\'"`^~-]/g : /[\\'"`^~]|(?<![A-Za-z0-9])-[-A-Za-z0-9]*/g;
  return text.replace(pattern, (found) => SPECIAL[found] ?? found.replaceAll("-", "\\-"));
}
