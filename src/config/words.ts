/** A piece of a value, with where it begins in it. */
export interface Word {
  readonly text: string;
  readonly offset: number;
}

/**
 * How a setting's value falls into words. The two ways below are those systemd.nspawn(5) settings use; neither knows
 * C escapes such as `\t`, whatever systemd.syntax(7) says in general (compared with systemd-nspawn 252).
 */
export interface WordRules {
  readonly separators: string;
  /** Single and double quotes group, anywhere in a word, and are removed; backslashes are ordinary characters. */
  readonly quotes: boolean;
  /** A backslash makes the next character an ordinary one and is removed. */
  readonly escapes: boolean;
  /** Two separators in a row have an empty word between them; otherwise they count as one. */
  readonly emptyWords: boolean;
}

/** Parameters=, Environment=: `a "b c" d'e f'` is `a`, `b c`, `de f`. */
export const QUOTED_WORDS: WordRules = { separators: " \t\n\r", quotes: true, escapes: false, emptyWords: false };
/** Bind= and other lists of paths: `/a\:b:/c` is `/a:b`, `/c`. */
export const PATHS: WordRules = { separators: ":", quotes: false, escapes: true, emptyWords: true };
/** Capability=, Interface= and other lists of plain words. */
export const PLAIN_WORDS: WordRules = { separators: " \t\n\r", quotes: false, escapes: false, emptyWords: false };

export interface Words {
  readonly words: readonly Word[];
  /** Only with a limit: the text after the last word taken and its separator, as written. */
  readonly rest: Word | undefined;
}

/** What keeps a value from being split, and where. */
export interface WordFault {
  readonly what: string;
  readonly offset: number;
}

/** Splits a value, or its first `limit` words. Linear in the value's length. */
export function splitWords(value: string, rules: WordRules, limit = Number.POSITIVE_INFINITY): Words | WordFault {
  const words: Word[] = [];
  let at = rules.emptyWords ? 0 : skip(value, 0, rules);
  while (words.length < limit && (at < value.length || (rules.emptyWords && at === value.length))) {
    const read = readWord(value, at, rules);
    if ("what" in read) return read;
    words.push({ text: read.text, offset: at });
    // One past the end: the word was the last, no separator follows.
    at = read.end < value.length ? read.end + 1 : value.length + 1;
    if (!rules.emptyWords) at = skip(value, at, rules);
  }
  return { words, rest: at <= value.length ? { text: value.slice(at), offset: at } : undefined };
}

function readWord(value: string, start: number, rules: WordRules): { text: string; end: number } | WordFault {
  const parts: string[] = [];
  let from = start;
  let at = start;
  for (; at < value.length; at++) {
    const character = value[at] ?? "";
    if (rules.separators.includes(character)) break;
    if (rules.escapes && character === "\\") {
      if (at + 1 === value.length) return { what: "a backslash at the end escapes nothing", offset: at };
      parts.push(value.slice(from, at));
      from = ++at;
    } else if (rules.quotes && (character === '"' || character === "'")) {
      const close = value.indexOf(character, at + 1);
      if (close === -1) return { what: `quote ${character} is not closed`, offset: at };
      parts.push(value.slice(from, at), value.slice(at + 1, close));
      at = close;
      from = close + 1;
    }
  }
  parts.push(value.slice(from, at));
  return { text: parts.join(""), end: at };
}

function skip(value: string, start: number, { separators }: WordRules): number {
  let at = start;
  while (at < value.length && separators.includes(value[at] ?? "")) at++;
  return at;
}
