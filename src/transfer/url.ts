import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

/** http or https. @throws UsageError */
export function requireUrl(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new UsageError(`${quote(text)} is no address to download from`, "http://... or https://...");
}

/** To show to anybody, and to keep: without the password that may be in it, or the token of an address that is signed. */
export function showUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = "";
  shown.password = "";
  if (shown.search !== "") shown.search = "...";
  shown.hash = "";
  return shown.href;
}
