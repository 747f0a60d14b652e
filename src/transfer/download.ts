import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { DownloadBody, syncFile } from "./download-body.ts";
import { type Known, openSlot, type Slot } from "./download-cache.ts";
import { guardSpace } from "./free-space.ts";
import { HttpRefusal, OK, open, SILENCE } from "./http.ts";
import { failed } from "./http-failure.ts";
import { showUrl } from "./url.ts";

/** A whole file from a server. What of it is here already, of this transfer or an earlier one, is not asked for again. */

export interface DownloadOptions {
  /** Paths.cache */
  readonly cache: string;
  /** A directory for what can't be in the cache. */
  readonly workspace: string;
  readonly signal: AbortSignal;
  /** 0 to 1, where it is known how much there is. */
  readonly onProgress: (fraction: number) => void;
  readonly log: (line: string) => void;
  /** What it is in the cache, where its address does not say. */
  readonly key?: string;
  /** Bytes that it has to have. */
  readonly size?: number;
  /** How the server is asked, where the address alone does not do. */
  readonly open?: Opener;
  /** ms in which the server has to send something. */
  readonly silence?: number;
  /** ms before the first of the tries that follow a broken connection. */
  readonly pause?: number;
}

export type Opener = (
  headers: OutgoingHttpHeaders,
  wanted: readonly number[],
  signal: AbortSignal,
) => Promise<IncomingMessage>;

export interface Download {
  readonly path: string;
  readonly sha256: string;
  readonly size: number;
  /** `keep`: for the next one who asks for the same, as long as there is room. */
  close(keep: boolean): Promise<void>;
}

const PARTIAL = 206;
const NOT_MODIFIED = 304;
const NOT_SATISFIABLE = 416;
const TRIES = 5;
const PAUSE = 500;
/** Bytes that make a try one that got somewhere: after it there are all tries again. */
const HEADWAY = 2 ** 20;
/** Less is not worth a file in the cache. */
const WORTH = 2 ** 16;
/** Bytes a second: who sends less says nothing. */
const SLOWEST = 100;

/** @throws BerthError. What came until then is kept, where the server can be asked for the rest */
export async function download(url: URL, options: DownloadOptions): Promise<Download> {
  const { cache, workspace, signal } = options;
  const slot = await openSlot(cache, options.key ?? url.href, join(workspace, "download"));
  try {
    return await guardSpace(dirname(slot.path), signal, (either) => new Fetch(url, slot, options, either).run());
  } catch (error) {
    slot.close(error instanceof Kept);
    throw error instanceof Kept ? error.cause : error;
  }
}

/** Failed, and what there is of it can be gone on with. */
class Kept extends Error {}

class Fetch {
  readonly #url: URL;
  readonly #slot: Slot;
  readonly #options: DownloadOptions;
  /** That of the options, and of a disk that gets full. */
  readonly #signal: AbortSignal;
  /** Of what is in the file; null: the server knows no name for it, so that only the whole can be asked for. */
  #known: Known | null;

  constructor(url: URL, slot: Slot, options: DownloadOptions, signal: AbortSignal) {
    this.#url = url;
    this.#slot = slot;
    this.#options = options;
    this.#signal = signal;
    this.#known = slot.known;
  }

  async run(): Promise<Download> {
    const stored = this.#known === null ? 0 : this.#slot.stored;
    await using body = await DownloadBody.open(this.#slot.path, stored, this.#signal);
    if (body.size > 0) this.#options.log(`going on after ${megabytes(body.size)}`);
    try {
      await this.#fill(body);
    } catch (error) {
      throw await this.#stopped(body, error);
    }
    const { size } = body;
    const sha256 = body.digest();
    return {
      ...{ path: this.#slot.path, sha256, size },
      close: async (keep) => {
        const known = this.#known;
        if (keep && known !== null) {
          await syncFile(this.#slot.path);
          this.#slot.remember({ ...known, length: size, complete: true }, size);
        }
        this.#slot.close(keep && known !== null);
      },
    };
  }

  async #fill(body: DownloadBody): Promise<void> {
    const { log, pause = PAUSE } = this.#options;
    const signal = this.#signal;
    for (let tries = 0; ; ) {
      const before = body.size;
      try {
        await this.#ask(body);
        return;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        tries = body.size - before >= HEADWAY ? 0 : tries + 1;
        // What does not begin is said at once: the address may be wrong.
        if (body.size === 0 || tries >= TRIES || !mayPass(error)) throw error;
        log(`${(error as Error).message}; trying again after ${megabytes(body.size)}`);
      }
      await sleep(pause * 2 ** tries, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One request, and what is answered. */
  async #ask(body: DownloadBody): Promise<void> {
    const known = this.#known;
    if (known === null && body.size > 0) await body.restart();
    const answer = await this.#open(body, known);
    switch (answer.statusCode) {
      case NOT_MODIFIED:
        answer.destroy();
        return;
      case PARTIAL:
        if (known !== null && isRest(answer, body.size, known)) break;
        answer.destroy();
        this.#known = null;
        throw new Broken("the server answers with another part than was asked for");
      case NOT_SATISFIABLE:
        answer.destroy();
        this.#known = null;
        throw new Broken("what is on the server has changed");
      default:
        await this.#begin(answer, body);
    }
    await this.#receive(answer, body);
  }

  #open(body: DownloadBody, known: Known | null): Promise<IncomingMessage> {
    const signal = this.#signal;
    const { silence } = this.#options;
    const opener: Opener =
      this.#options.open ??
      ((headers, wanted, aborted) => open(this.#url, { signal: aborted, headers, wanted, silence }));
    if (known === null || body.size === 0) return opener({}, [OK], signal);
    if (known.complete && body.size === known.length) return opener(unlessChanged(known), [OK, NOT_MODIFIED], signal);
    const range = { range: `bytes=${body.size}-`, "if-range": known.validator };
    return opener(range, [OK, PARTIAL, NOT_SATISFIABLE], signal);
  }

  /** The whole comes, whatever was asked for. */
  async #begin(answer: IncomingMessage, body: DownloadBody): Promise<void> {
    await body.restart();
    const { size } = this.#options;
    const length = lengthOf(answer);
    if (size !== undefined && length !== null && length !== size) {
      answer.destroy();
      throw new BerthError(`${showUrl(this.#url)} is refused: it has ${length} bytes, not ${size}`);
    }
    const validator = validatorOf(answer);
    this.#known = validator === null ? null : { validator, length, complete: false };
    if (this.#known !== null) this.#slot.remember(this.#known, 0);
    body.length = length;
  }

  async #receive(answer: IncomingMessage, body: DownloadBody): Promise<void> {
    const { size, onProgress, silence = SILENCE } = this.#options;
    const signal = this.#signal;
    const total = size ?? this.#known?.length ?? body.length;
    let before = body.size;
    const watch = setInterval(() => {
      const slow = body.size - before < (SLOWEST * silence) / 1000;
      before = body.size;
      if (slow) answer.destroy(new Broken(`it sends less than ${SLOWEST} bytes a second`));
    }, silence);
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        await body.write(chunk);
        if (size !== undefined && body.size > size)
          throw new BerthError(`${showUrl(this.#url)} is refused: it has more than ${size} bytes`);
        if (total !== null && total > 0) onProgress(Math.min(1, body.size / total));
      }
    } catch (error) {
      throw signal.aborted ? signal.reason : error instanceof BerthError ? error : new Broken("", { cause: error });
    } finally {
      clearInterval(watch);
      answer.destroy();
    }
    if (total !== null && body.size < total) throw new Broken(`it ends after ${body.size} of ${total} bytes`);
  }

  /** Keeps what is worth it, and says so. */
  async #stopped(body: DownloadBody, error: unknown): Promise<unknown> {
    const signal = this.#signal;
    const reason = signal.aborted
      ? signal.reason
      : error instanceof Broken
        ? failed(this.#url, error.cause ?? error)
        : error;
    // On a disk that is nearly full nothing is kept.
    const passing = signal.aborted ? this.#options.signal.aborted : mayPass(error);
    if (this.#known === null || body.size < WORTH || !passing) return reason;
    await body.sync();
    this.#slot.remember(this.#known, body.size);
    return new Kept("", { cause: signal.aborted ? reason : withHint(reason, body.size, this.#known.length) });
  }
}

/** A connection, or what came by it, that another one may be better than. */
class Broken extends Error {}

function withHint(error: unknown, size: number, length: number | null): unknown {
  if (!(error instanceof BerthError)) return error;
  const of = length === null ? "" : ` of ${megabytes(length)}`;
  const { kind, exitStatus, cause } = error;
  return new BerthError(`${error.message}, tried ${TRIES} times`, {
    ...{ kind, exitStatus, cause },
    hint: `${megabytes(size)}${of} are kept for a week: the next pull goes on from there`,
  });
}

const PASSING = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ETIMEDOUT",
  "EPIPE",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "EAI_AGAIN",
]);
const PASSING_STATUS = new Set([408, 429, 500, 502, 503, 504]);

function mayPass(error: unknown): boolean {
  if (error instanceof Broken) return true;
  const cause = error instanceof BerthError ? error.cause : undefined;
  if (cause instanceof HttpRefusal) return PASSING_STATUS.has(cause.status);
  return (
    PASSING.has(errorCode(cause) ?? "") ||
    (cause instanceof Error && /^(it says nothing|it does not get|no connection)/.test(cause.message))
  );
}

/** RFC 9110, 14.4: of which part, and of how much. */
function isRest(answer: IncomingMessage, from: number, known: Known): boolean {
  const [, first, last, all] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers["content-range"] ?? "") ?? [];
  const total = all === undefined || all === "*" ? null : Number(all);
  const { etag } = answer.headers;
  return (
    Number(first) === from &&
    Number(last) >= from &&
    (total === null || known.length === null || total === known.length) &&
    (etag === undefined || !known.validator.startsWith('"') || etag === known.validator)
  );
}

function unlessChanged({ validator }: Known): OutgoingHttpHeaders {
  return validator.startsWith('"') ? { "if-none-match": validator } : { "if-modified-since": validator };
}

/** ms: a file that is changed twice in a second has one date. */
const SURE = 60_000;

/** What can be told for sure to be the same again (RFC 9110, 8.8): a strong entity tag, or a date that was past when it was given. */
function validatorOf({ headers }: IncomingMessage): string | null {
  const { etag, date, "last-modified": changed } = headers;
  if (etag !== undefined && /^"[^"]{1,200}"$/.test(etag)) return etag;
  if (changed === undefined || date === undefined) return null;
  return Date.parse(date) - Date.parse(changed) >= SURE ? changed : null;
}

function lengthOf({ headers }: IncomingMessage): number | null {
  const length = headers["content-length"];
  return length === undefined ? null : Number(length);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
