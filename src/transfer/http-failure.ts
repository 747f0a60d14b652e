import type { IncomingMessage } from "node:http";
import { BerthError, errorCode } from "../errors.ts";
import { printable } from "../spec/quote.ts";
import { showUrl } from "./url.ts";

/** Why a download failed, as its user reads it. */

const CLOCK = "is this host's clock right? (date)";
const AUTHORITY =
  "nobody this host trusts vouches for the server; /usr/local/share/ca-certificates is for authorities of your own, and read by berthd when it starts";

/** By the codes of OpenSSL's checks as Node has them. */
const HINTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: CLOCK,
  CERT_NOT_YET_VALID: CLOCK,
  DEPTH_ZERO_SELF_SIGNED_CERT: AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: AUTHORITY,
  ERR_TLS_CERT_ALTNAME_INVALID: "the server is another one than the address names",
  ENOTFOUND: "is the name right, and does this host have a name server? (/etc/resolv.conf)",
  EAI_AGAIN: "does this host reach a name server? (/etc/resolv.conf)",
  ECONNREFUSED: "nothing listens there",
  ENETUNREACH: "this host has no way there; http_proxy and https_proxy name proxies",
  EHOSTUNREACH: "this host has no way there; http_proxy and https_proxy name proxies",
};

export function failed(url: URL, error: unknown): BerthError {
  if (error instanceof BerthError) return error;
  const code = errorCode(error) ?? "";
  const why = error instanceof Error ? error.message || code || error.name : String(error);
  const plain = /wrong version number|packet length too long/.test(why)
    ? "does the server speak https there?"
    : undefined;
  const hint = Object.hasOwn(HINTS, code) ? HINTS[code] : plain;
  return new BerthError(`cannot download ${showUrl(url)}: ${plainly(why)}`, { hint, cause: error });
}

/** Without OpenSSL's numbers and Node's advice; what a connection that ends is called by Node says nothing. */
function plainly(why: string): string {
  if (why === "aborted") return "the connection was closed before its end";
  return why
    .replace(/^[0-9A-F]+:error:.*:(?=[^:]+:)/, "")
    .replace(/; if the root CA is .*$/s, "")
    .trim();
}

/** ms and bytes that are spent to find out what a server says about its refusal. */
const PATIENCE = 2000;
const LOOK = 4096;

/** Of the body the first line that is for people, made harmless; empty: none. */
export async function firstLine(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  const late = setTimeout(() => answer.destroy(), PATIENCE);
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= LOOK) break;
    }
  } catch {
    // What came until then has to do.
  } finally {
    clearTimeout(late);
  }
  return lineOf(Buffer.concat(chunks).subarray(0, LOOK).toString("utf8"));
}

export function lineOf(body: string): string {
  if (body.trimStart().startsWith("<")) return printable(titleOf(body));
  const line = body.split(/[\r\n]/).find((each) => each.trim() !== "");
  return printable(line?.trim() ?? "");
}

/** Step by step: a pattern for it can be made to take for ever by who writes the page. */
function titleOf(page: string): string {
  const lower = page.toLowerCase();
  const begin = lower.indexOf(">", lower.indexOf("<title"));
  const end = lower.indexOf("<", begin);
  return begin > 0 && lower.includes("<title") && lower.startsWith("</title>", end)
    ? page.slice(begin + 1, end).trim()
    : "";
}
