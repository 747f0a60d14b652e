import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Agent as HttpAgent, get as httpGet, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, get as httpsGet } from "node:https";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { BerthError, UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { showUrl } from "./url.ts";

const REDIRECTS = 10;
/** ms in which a server has to say something. */
const SILENCE = 60_000;
const OK = 200;

export interface DownloadOptions {
  readonly signal: AbortSignal;
  /** 0 to 1, where the server says how much there is. */
  readonly onProgress: (fraction: number) => void;
}

/** http or https. @throws UsageError */
export function requireUrl(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url;
  throw new UsageError(`${quote(text)} is no address to download from`, "http://... or https://...");
}

/** Writes what is at `url` to a new file. Returns its SHA-256 in hexadecimal digits. @throws BerthError */
export async function download(url: URL, path: string, { signal, onProgress }: DownloadOptions): Promise<string> {
  const answer = await open(url, signal);
  const length = Number(answer.headers["content-length"]);
  const hash = createHash("sha256");
  let received = 0;
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      received += chunk.length;
      if (length > 0) onProgress(Math.min(1, received / length));
      done(null, chunk);
    },
  });
  await pipeline(answer, counting, createWriteStream(path, { flags: "wx", mode: 0o600 }), { signal }).catch((error) => {
    throw signal.aborted ? signal.reason : failed(url, error);
  });
  return hash.digest("hex");
}

/** What is at `url`, at most `max` bytes of it. Null: there is nothing (404). @throws BerthError */
export async function fetchSmall(url: URL, max: number, signal: AbortSignal): Promise<Buffer | null> {
  const answer = await open(url, signal, [OK, 403, 404]);
  if (answer.statusCode !== OK) {
    answer.destroy();
    return null;
  }
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > max) throw new BerthError(`${showUrl(url)} has more than ${max} bytes`);
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : failed(url, error);
  }
  return Buffer.concat(chunks);
}

/** Follows redirects. Resolves to an answer with one of the wanted statuses. */
async function open(url: URL, signal: AbortSignal, wanted: readonly number[] = [OK]): Promise<IncomingMessage> {
  let at = url;
  for (let hops = 0; hops <= REDIRECTS; hops++) {
    const answer = await request(at, signal);
    const { statusCode = 0, headers, statusMessage } = answer;
    if (wanted.includes(statusCode)) return answer;
    answer.destroy();
    const location = statusCode >= 300 && statusCode < 400 ? headers.location : undefined;
    if (location === undefined) throw failed(url, new Error(`the server answers ${statusCode} ${statusMessage}`));
    at = next(at, location);
  }
  throw failed(url, new Error(`more than ${REDIRECTS} redirects`));
}

function next(at: URL, location: string): URL {
  const url = URL.parse(location, at.href);
  if (url === null || !["http:", "https:"].includes(url.protocol))
    throw failed(at, new Error(`it redirects to ${quote(location)}`));
  // What began encrypted stays so.
  if (at.protocol === "https:" && url.protocol === "http:")
    throw failed(at, new Error("it redirects to an unencrypted address"));
  if (url.origin === at.origin) [url.username, url.password] = [at.username, at.password];
  return url;
}

function request(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  // Proxies as curl(1) and apt(8) take them from the environment.
  const proxyEnv = process.env;
  const headers = { "user-agent": "berth", "accept-encoding": "identity" };
  return new Promise((resolve, reject) => {
    const options = { signal, headers, timeout: SILENCE };
    const started =
      url.protocol === "https:"
        ? httpsGet(url, { ...options, agent: new HttpsAgent({ proxyEnv }) }, resolve)
        : httpGet(url, { ...options, agent: new HttpAgent({ proxyEnv }) }, resolve);
    started.once("timeout", () => started.destroy(new Error(`it says nothing for ${SILENCE / 1000} s`)));
    started.once("error", (error) => reject(signal.aborted ? signal.reason : failed(url, error)));
  });
}

function failed(url: URL, error: unknown): BerthError {
  if (error instanceof BerthError) return error;
  const why = error instanceof Error ? error.message || error.name : String(error);
  return new BerthError(`cannot download ${showUrl(url)}: ${why}`, { cause: error });
}
