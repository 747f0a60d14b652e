const SECRET = "--set-credential";

/** Words of a command line with the values of credentials taken out, to be shown. */
export function withoutSecrets(words: readonly string[]): readonly string[] {
  return words.map((word, index) => {
    if (words[index - 1] === SECRET) return hide(word);
    return word.startsWith(`${SECRET}=`) ? `${SECRET}=${hide(word.slice(SECRET.length + 1))}` : word;
  });
}

function hide(text: string): string {
  const colon = text.indexOf(":");
  return colon < 0 ? "..." : `${text.slice(0, colon)}:...`;
}
