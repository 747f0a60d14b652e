/** Downloads from a server on loopback, honest and otherwise: what is not what it should be leaves nothing. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { file, link, OS, tar } from "../lib/tar.ts";

const ready = needs("root", "tool:gpg", "tool:gpgv");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const ARCHIVE = tar([...OS, file("data", Buffer.alloc(1 << 20, 7))]);
const sumOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

type Page = Buffer | string | ((request: IncomingMessage, response: ServerResponse) => void);

interface Site extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for, in order. */
  readonly asked: readonly string[];
}

async function site(pages: Readonly<Record<string, Page>>): Promise<Site> {
  const asked: string[] = [];
  const server: Server = createServer((request, response) => {
    const path = request.url ?? "";
    asked.push(path);
    const page = pages[path];
    if (page === undefined) response.writeHead(404).end("no such page");
    else if (typeof page === "function") page(request, response);
    else response.end(page);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function pull(root: BerthRoot, url: string, ...options: readonly string[]): Promise<End> {
  return root.berth("pull-tar", url, ...options);
}

function expectPulled(root: BerthRoot, end: End, name = "web"): void {
  expect(end).toMatchObject({ status: 0, stdout: "", stderr: "" });
  expect(readFileSync(join(root.machines, name, "data")).length).toBe(1 << 20);
  expect(readdirSync(root.machines)).toEqual([name]);
}

function expectRefused(root: BerthRoot, { status, stdout, stderr }: End, reason: RegExp): void {
  expect([status, stdout], stderr).toEqual([1, ""]);
  expect(stderr).toMatch(reason);
  expect(readdirSync(root.machines)).toEqual([]);
}

describe("--verify=no", () => {
  test("takes what is there, named after its address, and through redirects", async () => {
    await using root = berthRoot();
    await using server = await site({
      "/a/web.tar": (_, response) => response.writeHead(302, { location: "../b/real?x=1" }).end(),
      "/b/real?x=1": ARCHIVE,
    });
    expectPulled(root, await pull(root, `${server.url}/a/web.tar`, "--verify=no"));
    expect(server.asked).toEqual(["/a/web.tar", "/b/real?x=1"]);
    expect((await pull(root, `${server.url}/a/web.tar`, "--verify=no")).stderr).toContain("web exists already");
    expect(server.asked.length, "nothing is asked for a name that is taken").toBe(2);
  });

  test.each<[string, Page, RegExp]>([
    ["a page that is missing", (_, response) => response.writeHead(404).end(), /answers 404 Not Found/],
    ["a server that fails", (_, response) => response.writeHead(500).end(), /answers 500/],
    [
      "redirects without an end",
      (_, response) => response.writeHead(301, { location: "/web.tar" }).end(),
      /more than 10 redirects/,
    ],
    [
      "a redirect to a file",
      (_, response) => response.writeHead(302, { location: "file:///etc/passwd" }).end(),
      /redirects to/,
    ],
    ["a redirect to nowhere", (_, response) => response.writeHead(302).end(), /answers 302/],
    [
      "an answer that is cut",
      (_, response) =>
        response
          .writeHead(200, { "content-length": ARCHIVE.length })
          .write(ARCHIVE.subarray(0, 5000), () => response.destroy()),
      /cannot download/,
    ],
    ["a page that is no archive", "<html>log in first</html>", /the archive is refused/],
    ["an archive that is cut", ARCHIVE.subarray(0, 5000), /the archive is refused/],
    ["an archive that reaches out", tar([...OS, link("out", "/tmp"), file("out/evil", "x")]), /the archive is refused/],
  ])("of %s leaves nothing", async (_, page, reason) => {
    await using root = berthRoot();
    await using server = await site({ "/web.tar": page });
    expectRefused(root, await pull(root, `${server.url}/web.tar`, "--verify=no"), reason);
  });

  test("of a server that is not there, and an address that is none", async () => {
    await using root = berthRoot();
    const server = await site({});
    await server[Symbol.asyncDispose]();
    expectRefused(root, await pull(root, `${server.url}/web.tar`, "--verify=no"), /cannot download .*ECONNREFUSED/);
    for (const address of ["file:///etc/passwd", "web.tar", "ftp://x/y.tar"])
      expect((await pull(root, address)).status).toBe(2);
    expect((await pull(root, `${server.url}/.tar`)).status).toBe(2);
    expect((await pull(root, `${server.url}/web.tar`, "--verify=maybe")).status).toBe(2);
  });
});

describe("--verify=checksum", () => {
  test.each<[string, Readonly<Record<string, string>>]>([
    ["web.tar.sha256", { "/d/web.tar.sha256": `${sumOf(ARCHIVE)}  web.tar\n` }],
    ["web.tar.sha256 with the hash alone", { "/d/web.tar.sha256": `${sumOf(ARCHIVE).toUpperCase()}\n` }],
    ["SHA256SUMS", { "/d/SHA256SUMS": `${"0".repeat(64)}  other.tar\n${sumOf(ARCHIVE)} *web.tar\n` }],
  ])("by %s", async (_, pages) => {
    await using root = berthRoot();
    await using server = await site({ "/d/web.tar": ARCHIVE, ...pages });
    expectPulled(root, await pull(root, `${server.url}/d/web.tar`, "--verify=checksum", "copy"), "copy");
  });

  test("what is another one, or vouched for by nobody, is never unpacked", async () => {
    await using root = berthRoot();
    await using server = await site({
      "/bad/web.tar": ARCHIVE,
      "/bad/SHA256SUMS": `${"0".repeat(64)}  web.tar\n`,
      "/none/web.tar": ARCHIVE,
      "/none/SHA256SUMS": `${sumOf(ARCHIVE)}  other.tar\n`,
    });
    expectRefused(
      root,
      await pull(root, `${server.url}/bad/web.tar`, "--verify=checksum"),
      /is refused: its SHA-256 is/,
    );
    expectRefused(root, await pull(root, `${server.url}/none/web.tar`, "--verify=checksum"), /can't be verified/);
    expect(server.asked).not.toContain("/none/web.tar");
  });
});

describe("--verify=signature, which is the default", () => {
  test("takes what a known key signed, in a list beside it or inline, and nothing else", {
    timeout: 120_000,
  }, async () => {
    await using root = berthRoot();
    const keys = root.directory("keys", 0o700);
    const gpg = (words: readonly string[], input = ""): Buffer =>
      execFileSync("gpg", ["--homedir", keys, "--batch", "--no-tty", "--quiet", "--passphrase", "", ...words], {
        input,
        stdio: ["pipe", "pipe", "pipe"],
      });
    const sums = `${sumOf(ARCHIVE)}  web.tar\n`;
    try {
      for (const who of ["good", "evil"]) gpg(["--quick-generate-key", who, "ed25519", "sign", "never"]);
      const sign = (who: string, how: string): Buffer => gpg(["--local-user", who, "--output", "-", how], sums);
      await using server = await site({
        ...Object.fromEntries(
          ["good", "evil", "changed", "unsigned", "inline", "forged"].map((place) => [`/${place}/web.tar`, ARCHIVE]),
        ),
        "/good/SHA256SUMS": sums,
        "/good/SHA256SUMS.gpg": sign("good", "--detach-sign"),
        "/evil/SHA256SUMS": sums,
        "/evil/SHA256SUMS.gpg": sign("evil", "--detach-sign"),
        "/changed/SHA256SUMS": sums.replace(/^./, "x"),
        "/changed/SHA256SUMS.gpg": sign("good", "--detach-sign"),
        "/unsigned/SHA256SUMS": sums,
        "/inline/web.tar.sha256": sign("good", "--clear-sign"),
        "/forged/web.tar.sha256": `${sums}${sign("good", "--clear-sign").toString().replace(sumOf(ARCHIVE), "1".repeat(64))}`,
      });
      expectRefused(root, await pull(root, `${server.url}/good/web.tar`), /there is no keyring|No public key/);
      mkdirSync(root.etc, { recursive: true });
      writeFileSync(join(root.etc, "import-pubring.gpg"), gpg(["--export", "good"]), { mode: 0o600 });
      expectRefused(root, await pull(root, `${server.url}/evil/web.tar`), /signature of the checksums is refused/);
      expectRefused(root, await pull(root, `${server.url}/changed/web.tar`), /signature of the checksums is refused/);
      expectRefused(root, await pull(root, `${server.url}/unsigned/web.tar`), /no signed list of checksums/);
      expectRefused(root, await pull(root, `${server.url}/forged/web.tar`), /signature of the checksums is refused/);
      expect(
        server.asked.filter((path) => path.endsWith("web.tar")),
        "nothing is downloaded for nothing",
      ).toEqual([]);
      expectPulled(root, await pull(root, `${server.url}/good/web.tar`));
      expect((await root.berth("remove", "web")).status).toBe(0);
      expectPulled(root, await pull(root, `${server.url}/inline/web.tar`));
    } finally {
      execFileSync("gpgconf", ["--homedir", keys, "--kill", "all"]);
    }
  });
});

test("a proxy of the environment is asked, but not for what no_proxy names", async () => {
  await using root = berthRoot();
  await using proxy = await site({ "http://server.invalid/web.tar": ARCHIVE });
  await using server = await site({ "/web.tar": ARCHIVE });
  const env = { http_proxy: proxy.url, no_proxy: "127.0.0.1" };
  const pulled = (url: string, name: string) => root.spawn([BERTH, "pull-tar", url, name, "--verify=no"], { env }).end;
  expectPulled(root, await pulled("http://server.invalid/web.tar", "web"));
  expect(await pulled(`${server.url}/web.tar`, "direct")).toMatchObject({ status: 0 });
  expect([proxy.asked, server.asked]).toEqual([["http://server.invalid/web.tar"], ["/web.tar"]]);
});

test("^C ends a download that goes on and on, a password in the address is not shown", async () => {
  await using root = berthRoot();
  await using server = await site({
    "/web.tar": (_, response) => response.writeHead(200, { "content-length": 1 << 30 }).write(ARCHIVE),
    "/gone.tar": (request, response) =>
      response.writeHead(request.headers.authorization === undefined ? 500 : 410).end(),
  });
  await using child = root.start("pull-tar", `${server.url}/web.tar`, "--verify=no");
  await poll("its first bytes", () => {
    const [workspace = ""] = readdirSync(root.machines);
    return workspace !== "" && readdirSync(join(root.machines, workspace)).includes("download") ? true : undefined;
  });
  child.kill("SIGINT");
  expect(await child.end).toMatchObject({ status: 130, stderr: "berth: transfer 1 was cancelled\n" });
  expect(readdirSync(root.machines)).toEqual([]);

  const address = `${server.url.replace("//", "//user:secret@")}/gone.tar`;
  const { stderr } = await pull(root, address, "--verify=no");
  expect(stderr).toContain("answers 410");
  expect(stderr).not.toContain("secret");
});
