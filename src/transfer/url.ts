/** To show to anybody, and to keep: without the password that may be in it, or the token of an address that is signed. */
export function showUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  if (shown.search !== "") shown.search = "...";
  shown.hash = "";
  return shown.href;
}

/** The same of what may be none. */
export function showUrlText(text: string): string {
  const url = URL.parse(text);
  return url === null ? text : showUrl(url);
}
