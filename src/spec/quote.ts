const SHOWN = 80;
const PLAIN = /^[ -~]*$/;

/**
 * Foreign text for a message: in double quotes, cut after 80 characters, and with nothing in it that a terminal
 * or a log would act on. `"a\u{1b}[31m"`.
 */
export function quote(text: string): string {
  return `"${printable(text, /["\\]/g)}"`;
}

/** The same without the quotes. */
export function printable(text: string, escaped?: RegExp): string {
  const shown = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
  const marked = escaped === undefined ? shown : shown.replace(escaped, "\\$&");
  return visible(marked);
}

/** The same uncut: for sentences of our own that may have foreign text in them. */
export function visible(text: string): string {
  if (PLAIN.test(text)) return text; // most is, and the other one takes long to make
  // Control, format (bidi overrides among them), surrogate and private-use characters, every separator but the space.
  const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}]|(?! )\p{Z}/gu;
  return text.replace(unsafe, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** JSON whose texts may be foreign: what JSON leaves as it is, and a terminal would act on, is escaped too. */
export function visibleJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/[\p{Cf}\u007f-\u009f\u2028\u2029]/gu, (character) =>
    [...Array(character.length).keys()]
      .map((index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
