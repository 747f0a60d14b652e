import type { Problem } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import type { Source } from "../spec/source.ts";

/** Limits of one settings file, in characters; a line is counted after its continuations were joined. */
export const LINE_LENGTH_MAX = 1024 * 1024;
export const FILE_LENGTH_MAX = 4 * 1024 * 1024;
export const LINES_MAX = 100_000;

/** One `Key=value` of a section, nothing in it interpreted yet. */
export interface Assignment {
  readonly section: string;
  readonly key: string;
  /** The text after the `=`, continuation lines joined, outer white space removed. */
  readonly value: string;
  /** Line of the key, column of the value (from 1, in UTF-16 units). */
  readonly source: Source;
  /** Where the lines that continue the value begin, ascending by offset. Absent for a value on one line. */
  readonly continued?: readonly Piece[];
}

/** From `offset` of a text on, it was read at this line and column. */
interface Piece {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

/** Where the character at `offset` of an assignment's value was written. */
export function sourceAt({ source, continued = [] }: Assignment, offset: number): Source {
  if (source.from !== "file") return source;
  const piece = continued.findLast((each) => each.offset <= offset);
  if (piece === undefined) return { ...source, column: source.column + offset };
  return { ...source, line: piece.line, column: piece.column + offset - piece.offset };
}

/**
 * Reads the syntax of systemd.syntax(7) the way systemd's own config_parse() does, its lesser known habits included
 * (each compared with systemd-nspawn 252): a line ends at LF, CR, NUL or a run of different ones of them; a comment
 * inside a continued line is left out; the backslash that continues a line becomes a space and the next line keeps
 * its indentation; a line without `=` is warned about and skipped. Two things are stricter: what systemd stops or
 * fails on is an error here, but reading goes on so that everything wrong is found. Never throws, linear time.
 *
 * `text` is the file decoded as UTF-8; bytes that are not shows as U+FFFD, which is therefore refused in a line.
 */
export function parseUnitFile(
  text: string,
  file: string,
): { assignments: readonly Assignment[]; problems: readonly Problem[] } {
  const assignments: Assignment[] = [];
  const problems: Problem[] = [];
  const report = (
    severity: Problem["severity"],
    line: number,
    column: number,
    what: string,
    expected?: string,
  ): void => {
    const source: Source = { from: "file", file, line, column };
    problems.push({ severity, source, what, ...(expected === undefined ? {} : { expected }) });
  };

  if (text.length > FILE_LENGTH_MAX) {
    report("error", 1, 1, `the file is longer than ${FILE_LENGTH_MAX} characters`);
    return { assignments, problems };
  }

  /** Undefined before the first header; null after a header that could not be read. */
  let section: string | null | undefined;
  for (const logical of logicalLines(text, report)) {
    const { start, end } = stripped(logical.text, 0, logical.text.length);
    if (start === end) continue;
    const place = locate(logical.pieces, start);
    const line = logical.text.slice(start, end);

    if (line.includes("\uFFFD") || !line.isWellFormed()) {
      report("error", place.line, place.column, `${quote(line)} is not valid UTF-8`);
    } else if (line.startsWith("[")) {
      section = line.endsWith("]") ? line.slice(1, -1) : null;
      if (section === null)
        report("error", place.line, place.column, `section header ${quote(line)} does not end with "]"`, "[Section]");
    } else if (section === undefined) {
      report("warning", place.line, place.column, `${quote(line)} stands before any section and is ignored`);
    } else if (section !== null && !section.startsWith("X-")) {
      const equals = logical.text.indexOf("=", start);
      const key = stripped(logical.text, start, equals);
      if (equals === -1 || equals >= end)
        report("warning", place.line, place.column, `no "=" in ${quote(line)}, the line is ignored`, "Key=value");
      else if (key.start === key.end)
        report("warning", place.line, place.column, `no key before the "=" in ${quote(line)}, the line is ignored`);
      else
        assignments.push({
          section,
          key: logical.text.slice(key.start, key.end),
          ...readValue(logical, equals + 1, file, place.line),
        });
    }
  }
  return { assignments, problems };
}

function readValue(
  { text, pieces }: LogicalLine,
  after: number,
  file: string,
  line: number,
): Pick<Assignment, "value" | "source" | "continued"> {
  const { start, end } = stripped(text, after, text.length);
  const place = locate(pieces, start);
  // A value that starts on a continuation line still belongs to the line of its key, where users look for it.
  const column = place.line === line ? place.column : locate(pieces, after).column;
  const source: Source = { from: "file", file, line, column };
  const rest = pieces.filter((piece) => piece.offset > start && piece.offset < end);
  const all = place.line === line ? rest : [{ ...place, offset: start }, ...rest];
  const value = text.slice(start, end);
  if (all.length === 0) return { value, source };
  return { value, source, continued: all.map((piece) => ({ ...piece, offset: piece.offset - start })) };
}

interface LogicalLine {
  readonly text: string;
  /** Where the physical lines it was joined from begin in `text`, ascending; at least one. */
  readonly pieces: readonly Piece[];
}

type Report = (severity: Problem["severity"], line: number, column: number, what: string) => void;

/** Lines with their continuations joined, comments left out. Ends early, with a problem, at a line over the limit. */
function* logicalLines(text: string, report: Report): Generator<LogicalLine> {
  let parts: string[] = [];
  let pieces: Piece[] = [];
  let length = 0;
  let mark = true;
  for (const { line, start, end } of physicalLines(text, report)) {
    const marked = mark && text.startsWith("\uFEFF", start);
    if (marked) mark = false;
    const from = marked ? start + 1 : start;
    const first = text[skipSpace(text, from, end)];
    if (first === "#" || first === ";") continue;

    if (length + end - from > LINE_LENGTH_MAX) {
      report("error", pieces[0]?.line ?? line, 1, `the line is longer than ${LINE_LENGTH_MAX} characters`);
      return;
    }

    pieces.push({ offset: length, line, column: from - start + 1 });
    length += end - from;
    if (endsWithBackslash(text, from, end)) {
      parts.push(text.slice(from, end - 1), " ");
      continue;
    }
    parts.push(text.slice(from, end));
    yield { text: parts.join(""), pieces };
    [parts, pieces, length] = [[], [], 0];
  }
  if (pieces.length > 0) yield { text: parts.join(""), pieces };
}

/** An even number of backslashes are escaped ones. */
function endsWithBackslash(text: string, from: number, end: number): boolean {
  let count = 0;
  while (end - count > from && text[end - count - 1] === "\\") count++;
  return count % 2 === 1;
}

interface PhysicalLine {
  readonly line: number;
  readonly start: number;
  readonly end: number;
}

function* physicalLines(text: string, report: Report): Generator<PhysicalLine> {
  let start = 0;
  for (let line = 1; start < text.length; line++) {
    if (line > LINES_MAX) {
      report("error", line, 1, `the file has more than ${LINES_MAX} lines`);
      return;
    }
    let end = start;
    while (end < text.length && !isLineEnd(text[end])) end++;
    yield { line, start, end };

    // As systemd's read_line(): CRLF, LFCR and the like are one end, a repeated character or a NUL before starts anew.
    const from = start;
    start = end;
    for (let seen = ""; !seen.includes("\0"); start++) {
      const next = text[start];
      if (!isLineEnd(next) || seen.includes(next)) break;
      if (next === "\0") report("warning", line, start - from + 1, "a NUL byte, which ends the line");
      seen += next;
    }
  }
}

function isLineEnd(character: string | undefined): character is string {
  return character === "\n" || character === "\r" || character === "\0";
}

/** The part of `text` from `start` to `end` without outer white space. Loops: `\s+$` would take quadratic time. */
function stripped(text: string, start: number, end: number): { start: number; end: number } {
  const first = skipSpace(text, start, end);
  let last = Math.max(first, end);
  while (last > first && isSpace(text[last - 1])) last--;
  return { start: first, end: last };
}

function skipSpace(text: string, start: number, end: number): number {
  let at = start;
  while (at < end && isSpace(text[at])) at++;
  return at;
}

function isSpace(character: string | undefined): boolean {
  return character === " " || character === "\t" || character === "\n" || character === "\r";
}

function locate(pieces: readonly Piece[], offset: number): { line: number; column: number } {
  const piece = pieces.findLast((each) => each.offset <= offset);
  if (piece === undefined) return { line: 1, column: 1 };
  return { line: piece.line, column: piece.column + offset - piece.offset };
}
