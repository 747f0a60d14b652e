/**
 * nginx on loopback, serving a directory as the mirrors of images do: ranges, entity tags, dates.
 *
 *   await using server = await nginx(directory);            // server.url; needs("tool:nginx")
 *   server.requests()                                       // lines of its log: `GET /x 206 bytes=100-`
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "./server-process.ts";

export interface Nginx extends AsyncDisposable {
  readonly url: string;
  requests(): readonly string[];
}

export async function nginx(root: string, more = ""): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), "nginx-"));
  for (const name of ["body", "proxy", "fastcgi", "uwsgi", "scgi"]) mkdirSync(join(directory, name));
  const port = await freePort();
  const log = join(directory, "log");
  writeFileSync(log, "");
  writeFileSync(
    join(directory, "nginx.conf"),
    `daemon off; master_process off; user root; pid ${directory}/pid; error_log ${directory}/error warn;
    events {}
    http {
      log_format short '$request_method $uri $status $http_range';
      access_log ${log} short;
      client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/fastcgi;
      uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
      server { listen 127.0.0.1:${port}; root ${root}; autoindex off; ${more} }
    }\n`,
  );
  const server = await serve(["nginx", "-c", join(directory, "nginx.conf"), "-e", join(directory, "error")], port);
  return {
    url: `http://127.0.0.1:${port}`,
    requests: () => readFileSync(log, "utf8").split("\n").filter(Boolean),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}

/** One that nobody had a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
