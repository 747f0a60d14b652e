import { createHash } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { BerthError } from "../../errors.ts";
import { quote } from "../../spec/quote.ts";
import { OK, open, readSmall, UNAUTHORIZED } from "../http.ts";
import { failed } from "../http-failure.ts";
import { showUrl } from "../url.ts";
import { isDigest, type Reference, showReference } from "./reference.ts";

/** One repository of a registry, by the OCI distribution protocol: what is read of it, and how it is asked who we are. */

const NOT_FOUND = 404;
const FORBIDDEN = 403;
/** Bytes. */
const MANIFEST_MAX = 1 << 20;
const TOKEN_MAX = 64 << 10;

export interface Fetched {
  readonly bytes: Buffer;
  /** Of the answer; what it is says the manifest itself, too. */
  readonly type: string;
  readonly digest: string;
}

export class Registry {
  readonly #server: URL;
  readonly #reference: Reference;
  /** `user:password`. */
  readonly #credentials: string | undefined;
  #authorization: string | undefined;

  constructor(server: URL, reference: Reference, credentials: string | undefined) {
    this.#server = server;
    this.#reference = reference;
    this.#credentials = credentials;
  }

  /** A manifest or index, by tag or digest; of one by digest the bytes are what they should be. @throws BerthError */
  async manifest(version: string, types: readonly string[], signal: AbortSignal): Promise<Fetched> {
    const url = this.#url(`manifests/${version}`);
    const answer = await this.get(url, { accept: types.join(", ") }, [OK, NOT_FOUND], signal);
    if (answer.statusCode === NOT_FOUND) {
      answer.destroy();
      throw new BerthError(`${showReference({ ...this.#reference, version })} is not there`, {
        hint: "is the name right, with its path, and the tag?",
      });
    }
    const type = (answer.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    const bytes = await readSmall(answer, url, MANIFEST_MAX, signal);
    const digest = digestOf(bytes);
    if (isDigest(version) && digest !== version) throw wrongDigest(url, digest, version);
    return { bytes, type, digest };
  }

  /** A small blob. @throws BerthError */
  async blob(digest: string, size: number, signal: AbortSignal): Promise<Buffer> {
    const url = this.blobUrl(digest);
    const bytes = await readSmall(await this.get(url, {}, [OK], signal), url, size, signal);
    if (digestOf(bytes) !== digest) throw wrongDigest(url, digestOf(bytes), digest);
    return bytes;
  }

  blobUrl(digest: string): URL {
    return this.#url(`blobs/${digest}`);
  }

  /** Who we are is said when that is asked for, and asked for once: what is refused then is refused. */
  async get(
    url: URL,
    headers: OutgoingHttpHeaders,
    wanted: readonly number[],
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const ask = (): Promise<IncomingMessage> =>
      open(url, { signal, headers, wanted: [...wanted, UNAUTHORIZED, FORBIDDEN], authorization: this.#authorization });
    let answer = await ask();
    if (answer.statusCode === UNAUTHORIZED) {
      answer.destroy();
      this.#authorization = await this.#authorize(answer.headers["www-authenticate"] ?? "", signal);
      answer = await ask();
    }
    if (answer.statusCode !== UNAUTHORIZED && answer.statusCode !== FORBIDDEN) return answer;
    answer.destroy();
    throw this.#refused();
  }

  async #authorize(challenge: string, signal: AbortSignal): Promise<string> {
    const { scheme, values } = parseChallenge(challenge);
    const basic = this.#credentials && `Basic ${Buffer.from(this.#credentials).toString("base64")}`;
    if (scheme === "basic") {
      if (basic === undefined) throw this.#refused();
      return basic;
    }
    if (scheme !== "bearer")
      throw failed(this.#server, new Error(`it asks for a way to log in that is not known: ${quote(challenge)}`));
    const realm = this.#realm(values.get("realm") ?? "");
    const service = values.get("service");
    if (service !== undefined) realm.searchParams.set("service", service);
    realm.searchParams.set("scope", `repository:${this.#reference.repository}:pull`);
    const wanted = [OK, UNAUTHORIZED, FORBIDDEN];
    const answer = await open(realm, { signal, authorization: basic, wanted });
    if (answer.statusCode !== OK) {
      answer.destroy();
      throw this.#refused();
    }
    return `Bearer ${tokenIn(await readSmall(answer, realm, TOKEN_MAX, signal), realm)}`;
  }

  /** Who gives tokens gets our password: by an encrypted way, or the registry's own. */
  #realm(text: string): URL {
    const realm = URL.parse(text);
    if (realm !== null && (realm.protocol === "https:" || realm.origin === this.#server.origin)) return realm;
    throw failed(this.#server, new Error(`it sends us for a token to ${quote(text)}, which is not encrypted`));
  }

  #refused(): BerthError {
    const { registry } = this.#reference;
    const what = this.#credentials === undefined ? "to nobody in particular" : "by these credentials";
    return new BerthError(`${registry} does not give ${showReference(this.#reference)} ${what}`, {
      kind: "AccessDenied",
      hint: "is the name right? skopeo login or podman login, as root, keep credentials where they are looked for; see berth(1), FILES",
    });
  }

  #url(path: string): URL {
    const url = new URL(this.#server);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/v2/${this.#reference.repository}/${path}`;
    return url;
  }
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function wrongDigest(url: URL, digest: string, wanted: string): BerthError {
  return new BerthError(`${showUrl(url)} is refused: its digest is ${digest}, not ${wanted}`, {
    hint: "it was changed on its way, or the registry is damaged",
  });
}

/** RFC 9110, 11.6.1: `Bearer realm="...",service="..."`. Of several the first counts. */
export function parseChallenge(text: string): {
  readonly scheme: string;
  readonly values: ReadonlyMap<string, string>;
} {
  const [, scheme = "", rest = ""] = /^\s*([A-Za-z]{1,20})\s+([\s\S]{0,4000})/.exec(text) ?? [];
  const values = new Map<string, string>();
  for (const [, key = "", quoted, plain] of rest.matchAll(/([A-Za-z_]{1,30})=(?:"([^"]{0,1000})"|([^\s",]{1,1000}))/g))
    if (!values.has(key.toLowerCase())) values.set(key.toLowerCase(), quoted ?? plain ?? "");
  return { scheme: scheme.toLowerCase(), values };
}

function tokenIn(bytes: Buffer, realm: URL): string {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    value = null;
  }
  const of = (key: string): unknown =>
    typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
  for (const token of [of("token"), of("access_token")])
    if (typeof token === "string" && /^[\x21-\x7e]{1,20000}$/.test(token)) return token;
  throw failed(realm, new Error("it gives no token"));
}
