import { Agent as HttpAgent, get as httpGet, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { Agent as HttpsAgent, get as httpsGet, type RequestOptions } from "node:https";
import { BerthError } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { trustLocalAuthorities } from "./authorities.ts";
import { failed, firstLine } from "./http-failure.ts";
import { proxiesNow } from "./proxies.ts";
import { showUrl } from "./url.ts";

const REDIRECTS = 10;
/** ms for a connection to be made, TLS included. */
const CONNECT = 30_000;
/** ms in which a server has to say something. */
export const SILENCE = 60_000;
export const OK = 200;
export const UNAUTHORIZED = 401;

export interface OpenOptions {
  readonly signal: AbortSignal;
  /** Statuses of answers that are looked at; any other is an error. */
  readonly wanted?: readonly number[];
  readonly headers?: OutgoingHttpHeaders;
  /** Of what is there nothing comes. Default: GET */
  readonly method?: "HEAD";
  /** ms in which the server has to answer. */
  readonly silence?: number | undefined;
  /** For the server of the first address alone: a redirect to another gets none of it. */
  readonly authorization?: string | undefined;
}

/** Follows redirects; resolves to an answer with one of the wanted statuses. @throws BerthError */
export async function open(url: URL, options: OpenOptions): Promise<IncomingMessage> {
  const { wanted = [OK], headers = {}, authorization } = options;
  let at = url;
  let forServer = authorization;
  for (let hops = 0; hops <= REDIRECTS; hops++) {
    const all = forServer === undefined ? headers : { ...headers, authorization: forServer };
    const answer = await request(at, all, options);
    const { statusCode = 0, headers: said } = answer;
    // Who we are is for the server that was meant to ask: another one would get it, too.
    const isForeign = at.origin !== url.origin && statusCode === UNAUTHORIZED;
    if (wanted.includes(statusCode) && !isForeign) return answer;
    const location = statusCode >= 300 && statusCode < 400 ? said.location : undefined;
    if (location === undefined) throw await refusal(at, answer);
    answer.destroy();
    const to = next(at, location);
    if (to.origin !== url.origin) forServer = undefined;
    at = to;
  }
  throw failed(url, new Error(`more than ${REDIRECTS} redirects`));
}

/** What is at `url`, at most `max` bytes of it. Null: there is nothing (404). @throws BerthError */
export async function fetchSmall(url: URL, max: number, signal: AbortSignal): Promise<Buffer | null> {
  const answer = await open(url, { signal, wanted: [OK, 403, 404] });
  if (answer.statusCode === OK) return readSmall(answer, url, max, signal);
  answer.destroy();
  return null;
}

/** The body of an answer, at most `max` bytes. @throws BerthError for more */
export async function readSmall(answer: IncomingMessage, url: URL, max: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Who sends a byte a minute is not silent, and never at its end.
  const late = setTimeout(() => answer.destroy(new Error(`it takes more than ${SILENCE / 1000} s`)), SILENCE);
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > max) throw new BerthError(`${showUrl(url)} has more than ${max} bytes`);
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : failed(url, error);
  } finally {
    clearTimeout(late);
  }
  return Buffer.concat(chunks);
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

async function refusal(url: URL, answer: IncomingMessage): Promise<BerthError> {
  const { statusCode = 0, statusMessage = "" } = answer;
  const said = await firstLine(answer);
  answer.destroy();
  return failed(url, new HttpRefusal(statusCode, `${statusCode} ${statusMessage}`.trimEnd(), said));
}

/** An answer that is none. */
export class HttpRefusal extends Error {
  readonly status: number;

  constructor(status: number, line: string, said: string) {
    super(`the server answers ${quoteFree(line)}${said === "" || said === line ? "" : `: ${said}`}`);
    this.status = status;
  }
}

/** Of a status line, which is the server's to say. */
function quoteFree(line: string): string {
  return quote(line).slice(1, -1);
}

function agentOptions(): { readonly proxyEnv: NodeJS.ProcessEnv } {
  return { proxyEnv: proxiesNow() ?? process.env };
}

function request(
  url: URL,
  headers: OutgoingHttpHeaders,
  { signal, silence = SILENCE, method }: OpenOptions,
): Promise<IncomingMessage> {
  if (url.protocol === "https:") trustLocalAuthorities();
  const all = { "user-agent": "berth", "accept-encoding": "identity", ...headers };
  return new Promise((resolve, reject) => {
    const options: RequestOptions = { signal, headers: all, timeout: silence, ...(method && { method }) };
    const started =
      url.protocol === "https:"
        ? httpsGet(url, { ...options, agent: new HttpsAgent(agentOptions()) })
        : httpGet(url, { ...options, agent: new HttpAgent(agentOptions()) });
    let late = setTimeout(() => started.destroy(new Error(`no connection within ${CONNECT / 1000} s`)), CONNECT);
    started.once("socket", (socket) => {
      // Who sends a byte of its answer's head a minute is not silent, and never there.
      const made = (): void => {
        clearTimeout(late);
        if (!started.destroyed)
          late = setTimeout(
            () => started.destroy(new Error(`it does not get to its answer within ${silence / 1000} s`)),
            silence,
          );
      };
      if (socket.connecting) socket.once(url.protocol === "https:" ? "secureConnect" : "connect", made);
      else made();
    });
    started.once("timeout", () => started.destroy(new Error(`it says nothing for ${silence / 1000} s`)));
    started.once("response", (answer) => {
      clearTimeout(late);
      resolve(answer);
    });
    started.once("error", (error) => {
      clearTimeout(late);
      reject(signal.aborted ? signal.reason : failed(url, error));
    });
  });
}
