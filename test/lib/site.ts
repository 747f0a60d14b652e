/** A web server on loopback whose pages are given, and may be functions: honest, and otherwise. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";

export type Page = Buffer | string | ((request: IncomingMessage, response: ServerResponse) => void);

export interface Site extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for, in order; those of which only the head was, after `HEAD `. */
  readonly asked: readonly string[];
}

/** `tls`: key and certificate, for https. */
export async function site(
  pages: Readonly<Record<string, Page>>,
  tls?: { readonly key: string; readonly cert: string },
): Promise<Site> {
  const asked: string[] = [];
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const path = request.url ?? "";
    asked.push(request.method === "HEAD" ? `HEAD ${path}` : path);
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
    if (page === undefined) response.writeHead(404).end("no such page");
    else if (typeof page === "function") page(request, response);
    else response.end(page);
  };
  const server: Server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    asked,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Answers with what is asked for of `bytes`, as a server that knows ranges does, and ends the connection after `cut` of them. */
export function ranged(bytes: Buffer, { etag, cut }: { etag: string; cut?: number | undefined }): Page {
  return (request, response) => {
    const from =
      request.headers["if-range"] === etag ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
    const part = bytes.subarray(from);
    if (request.headers["if-none-match"] === etag) {
      response.writeHead(304, { etag }).end();
      return;
    }
    const range = from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { etag, "content-length": part.length, ...range });
    if (cut === undefined || cut >= part.length) response.end(part);
    else response.write(part.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
  };
}
