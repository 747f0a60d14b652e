/** To show and to keep: without the password that may be in it. */
export function showUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  return shown.href;
}

/** The same of what may be none. */
export function showUrlText(text: string): string {
  const url = URL.parse(text);
  return url === null ? text : showUrl(url);
}
