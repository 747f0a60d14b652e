/** Downloads from a server on loopback, honest and otherwise: what is not what it should be leaves nothing. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End, poll } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { nginx } from "../lib/nginx.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { type Page, ranged, site } from "../lib/site.ts";
import { file, link, OS, tar } from "../lib/tar.ts";

const ready = needs("root", "tool:gpg", "tool:gpgv");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const ARCHIVE = tar([...OS, file("data", Buffer.alloc(1 << 20, 7))]);
const sumOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** With a cache of its own: what is kept of downloads is there. */
function pullRoot(): BerthRoot {
  const root = berthRoot();
  root.env["BERTH_CACHE"] = join(root.path, "cache");
  return root;
}

function downloads(root: BerthRoot): readonly string[] {
  const directory = join(root.path, "cache", "downloads");
  return existsSync(directory) ? readdirSync(directory) : [];
}

async function pull(root: BerthRoot, url: string, ...options: readonly string[]): Promise<End> {
  return root.berth("pull-tar", url, ...options);
}

/** `printed`: a name that nobody gave is. */
function expectPulled(root: BerthRoot, end: End, name = "web", printed = `${name}\n`): void {
  expect(end).toMatchObject({ status: 0, stdout: printed, stderr: "" });
  expect(readFileSync(join(root.machines, name, "data")).length).toBe(1 << 20);
  expect(readdirSync(root.machines)).toEqual([name]);
  expect(downloads(root)).toEqual([]);
}

function expectRefused(root: BerthRoot, { status, stdout, stderr }: End, reason: RegExp): void {
  expect([status, stdout], stderr).toEqual([1, ""]);
  expect(stderr).toMatch(reason);
  expect([readdirSync(root.machines), downloads(root)]).toEqual([[], []]);
}

describe("--verify=no", () => {
  test("takes what is there, named after its address, and through redirects", async () => {
    await using root = pullRoot();
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
    await using root = pullRoot();
    await using server = await site({ "/web.tar": page });
    expectRefused(root, await pull(root, `${server.url}/web.tar`, "--verify=no"), reason);
  });

  test("of a server that is not there, and an address that is none", async () => {
    await using root = pullRoot();
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
    await using root = pullRoot();
    await using server = await site({ "/d/web.tar": ARCHIVE, ...pages });
    expectPulled(root, await pull(root, `${server.url}/d/web.tar`, "--verify=checksum", "copy"), "copy", "");
  });

  test("what is another one, or vouched for by nobody, is never unpacked", async () => {
    await using root = pullRoot();
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

/** gpg(1) of keys of its own; answers its output. */
function gpgOf(keys: string): (words: readonly string[], input?: string) => Buffer {
  const always = ["--homedir", keys, "--batch", "--no-tty", "--quiet", "--passphrase", ""];
  return (words, input = "") => execFileSync("gpg", [...always, ...words], { input, stdio: ["pipe", "pipe", "pipe"] });
}

describe("--verify=signature, which is the default", () => {
  test("takes what a known key signed, in a list beside it or inline, and nothing else", async () => {
    await using root = pullRoot();
    const keys = root.directory("keys", 0o700);
    const gpg = gpgOf(keys);
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
      expectRefused(
        root,
        await pull(root, `${server.url}/good/web.tar`),
        /there is no keyring|is of key \w+, which is not known/,
      );
      mkdirSync(root.etc, { recursive: true });
      writeFileSync(join(root.etc, "import-pubring.gpg"), gpg(["--export", "good"]), { mode: 0o600 });
      const evil = await pull(root, `${server.url}/evil/web.tar`);
      expectRefused(
        root,
        evil,
        /signature of the checksums is refused: it is of key [0-9A-F]{16}, which is not known\n/,
      );
      expect(evil.stderr).toMatch(/gpg --export [0-9A-F]{16} >>\S+import-pubring.gpg adds it, --verify=checksum does/);
      const changed = await pull(root, `${server.url}/changed/web.tar`);
      expectRefused(root, changed, /signature of the checksums is refused: BAD signature/);
      expect(changed.stderr).not.toContain("--verify");
      const gone = await pull(root, `${server.url}/gone/web.tar`);
      expectRefused(root, gone, /cannot download \S+gone\/web.tar: the server answers 404 Not Found/);
      expectRefused(root, await pull(root, `${server.url}/unsigned/web.tar`), /no signed list of checksums/);
      expectRefused(root, await pull(root, `${server.url}/forged/web.tar`), /signature of the checksums is refused/);
      expect(
        server.asked.filter((path) => path.endsWith("web.tar") && !path.startsWith("HEAD ")),
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

test("nor what a key signed that has expired or was revoked, or whose signature has expired", async () => {
  await using root = pullRoot();
  const keys = root.directory("keys", 0o700);
  const gpg = gpgOf(keys);
  const sums = `${sumOf(ARCHIVE)}  web.tar\n`;
  const then = "--faked-system-time=20200101T000000";
  const sign = (who: string, ...words: readonly string[]): Buffer =>
    gpg([...words, "--local-user", who, "--output", "-", "--detach-sign"], sums);
  try {
    gpg([then, "--quick-generate-key", "old", "ed25519", "sign", "1d"]);
    for (const who of ["lost", "brief"]) gpg([then, "--quick-generate-key", who, "ed25519", "sign", "never"]);
    const signed = {
      old: sign("old", then),
      lost: sign("lost"),
      brief: sign("brief", then, "--default-sig-expire=1d"),
    };
    const lost = /^fpr:+([0-9A-F]+):/m.exec(gpg(["--with-colons", "--list-keys", "lost"]).toString())?.[1] ?? "";
    const revocation = readFileSync(join(keys, "openpgp-revocs.d", `${lost}.rev`), "utf8");
    gpg(["--import"], revocation.replace(/^:/m, ""));
    await using server = await site(
      Object.fromEntries(
        Object.entries(signed).flatMap(([place, signature]) => [
          [`/${place}/web.tar`, ARCHIVE],
          [`/${place}/SHA256SUMS`, sums],
          [`/${place}/SHA256SUMS.gpg`, signature],
        ]),
      ),
    );
    mkdirSync(root.etc, { recursive: true });
    writeFileSync(join(root.etc, "import-pubring.gpg"), gpg(["--export"]));
    for (const [place, why] of [
      ["old", /refused: it is of key [0-9A-F]{16}, which has expired\n/],
      ["lost", /refused: it is of key [0-9A-F]{16}, which has been revoked\n/],
      ["brief", /refused: it has expired\n/],
    ] as const)
      expectRefused(root, await pull(root, `${server.url}/${place}/web.tar`), why);
  } finally {
    execFileSync("gpgconf", ["--homedir", keys, "--kill", "all"]);
  }
});

test.each([
  ["lines", "\n"],
  ["one line", "A"],
])(
  "a signed list that is packed and has more in it than any list, %s, is refused, and not read to its end",
  async (_, text) => {
    await using root = pullRoot();
    const keys = root.directory("keys", 0o700);
    const gpg = gpgOf(keys);
    try {
      gpg(["--quick-generate-key", "good", "ed25519", "sign", "never"]);
      const bomb = gpg(["--armor", "--output", "-", "--sign", "--compress-algo", "bzip2"], text.repeat(32 << 20));
      const list = `${bomb}\n-----BEGIN PGP SIGNED MESSAGE-----\n`;
      expect(list.length).toBeLessThan(10_000);
      await using server = await site({ "/web.tar": ARCHIVE, "/web.tar.sha256": list });
      mkdirSync(root.etc, { recursive: true });
      writeFileSync(join(root.etc, "import-pubring.gpg"), gpg(["--export"]));
      expectRefused(root, await pull(root, `${server.url}/web.tar`), /is refused: there is more in it than the list/);
    } finally {
      execFileSync("gpgconf", ["--homedir", keys, "--kill", "all"]);
    }
  },
);

test("a proxy of the environment is asked, but not for what no_proxy names", async () => {
  await using root = pullRoot();
  await using proxy = await site({ "http://server.invalid/web.tar": ARCHIVE });
  await using server = await site({ "/web.tar": ARCHIVE });
  const env = { http_proxy: proxy.url, no_proxy: "127.0.0.1" };
  const pulled = (url: string, name: string) => root.spawn([BERTH, "pull-tar", url, name, "--verify=no"], { env }).end;
  expectPulled(root, await pulled("http://server.invalid/web.tar", "web"), "web", "");
  expect(await pulled(`${server.url}/web.tar`, "direct")).toMatchObject({ status: 0 });
  expect([proxy.asked, server.asked]).toEqual([["http://server.invalid/web.tar"], ["/web.tar"]]);
  // Of who asks, whatever berthd was started with.
  await using other = await site({ "http://server.invalid/web.tar": ARCHIVE });
  const pull = [BERTH, "pull-tar", "http://server.invalid/web.tar", "other", "--verify=no"];
  expect(await root.spawn(pull, { env: { HTTP_PROXY: other.url } }).end).toMatchObject({ status: 0 });
  expect([proxy.asked.length, other.asked]).toEqual([1, ["http://server.invalid/web.tar"]]);
});

describe("by https", () => {
  /** Signed by itself, for a name or address. */
  function certificate(root: BerthRoot, subject: string): { key: string; cert: string; path: string } {
    const at = (name: string): string => join(root.path, `${name}-${subject.replace(/\W/g, "_")}`);
    const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    execFileSync(
      "openssl",
      [...words, "-subj", "/CN=test", "-addext", `subjectAltName=${subject}`, "-keyout", at("key"), "-out", at("cert")],
      { stdio: "pipe" },
    );
    return { key: readFileSync(at("key"), "utf8"), cert: readFileSync(at("cert"), "utf8"), path: at("cert") };
  }

  test("who nobody vouches for is refused, and told so; who an authority of the host's does is not", async (ctx) => {
    needsHere(ctx, "tool:openssl");
    await using root = pullRoot();
    const here = certificate(root, "IP:127.0.0.1");
    await using plain = await site({ "/web.tar": ARCHIVE });
    const away = (_: unknown, response: ServerResponse): void =>
      void response.writeHead(302, { location: `${plain.url}/web.tar` }).end();
    await using server = await site({ "/web.tar": ARCHIVE, "/away.tar": away }, here);
    expectRefused(
      root,
      await pull(root, `${server.url}/web.tar`, "--verify=no"),
      /self-signed certificate\nhint: nobody this host trusts/,
    );
    expectRefused(
      root,
      await pull(root, `${plain.url.replace("http", "https")}/web.tar`, "--verify=no"),
      /\nhint: does the server speak https/,
    );
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    root.env["NODE_EXTRA_CA_CERTS"] = here.path;
    expectRefused(
      root,
      await pull(root, `${server.url}/away.tar`, "--verify=no"),
      /redirects to an unencrypted address/,
    );
    expectPulled(root, await pull(root, `${server.url}/web.tar`, "--verify=no"));
    expect(plain.asked).toEqual([]);
  });

  test("who is another one than the address names is refused", async (ctx) => {
    needsHere(ctx, "tool:openssl");
    await using root = pullRoot();
    const other = certificate(root, "DNS:other.invalid");
    root.env["NODE_EXTRA_CA_CERTS"] = other.path;
    await using server = await site({ "/web.tar": ARCHIVE }, other);
    expectRefused(
      root,
      await pull(root, `${server.url}/web.tar`, "--verify=no"),
      /\nhint: the server is another one than the address names/,
    );
  });
});

test("a password in the address, or a signature, is not shown", async () => {
  await using root = pullRoot();
  await using server = await site({
    "/gone.tar?signature=secret": (request, response) =>
      response.writeHead(request.headers.authorization === undefined ? 500 : 410).end("it is \x1b[1mgone"),
  });
  const address = `${server.url.replace("//", "//user:secret@")}/gone.tar?signature=secret`;
  const { stderr } = await pull(root, address, "--verify=no");
  expect(stderr).toContain("/gone.tar?...: the server answers 410 Gone: it is \\u{1b}[1mgone");
  expect(stderr).not.toContain("secret");
});

/** Half of it comes, and then nothing, as long as `stalls()`. */
function stalling(stalls: () => boolean): Page {
  const whole = ranged(ARCHIVE, { etag: '"1"' });
  return (request, response) => {
    if (!stalls() && typeof whole === "function") whole(request, response);
    else response.writeHead(200, { etag: '"1"', "content-length": ARCHIVE.length }).write(ARCHIVE.subarray(0, 500_000));
  };
}

async function begun(root: BerthRoot): Promise<void> {
  await poll("the first bytes", () => {
    const file = downloads(root).find((name) => !name.endsWith(".json"));
    return file !== undefined && statSync(join(root.path, "cache", "downloads", file)).size === 500_000
      ? true
      : undefined;
  });
}

async function transfers(root: BerthRoot, ...options: string[]): Promise<unknown> {
  return JSON.parse((await root.berth("list-transfers", "--json", ...options)).stdout);
}

describe("a download in berthd", () => {
  test("is ended by ^C, and the next one goes on where that was", async () => {
    await using root = pullRoot();
    let stalled = true;
    await using server = await site({ "/web.tar": stalling(() => stalled) });
    await using child = root.start("pull-tar", `${server.url}/web.tar`, "--verify=no");
    await begun(root);
    child.kill("SIGINT");
    expect(await child.end).toMatchObject({ status: 130, stderr: "berth: transfer 1 was cancelled\n" });
    expect([readdirSync(root.machines), downloads(root).length]).toEqual([[], 2]);
    stalled = false;
    expectPulled(root, await pull(root, `${server.url}/web.tar`, "--verify=no"));
  });

  test("goes on when its client is killed, is listed, and can be cancelled", async () => {
    await using root = pullRoot();
    await using server = await site({ "/web.tar": stalling(() => true) });
    expect(await transfers(root)).toEqual([]);
    await using child = root.start("pull-tar", `${server.url}/web.tar`, "--verify=no");
    await begun(root);
    child.kill("SIGKILL");
    await child.end;
    const remote = `${server.url}/web.tar`;
    expect(await transfers(root)).toMatchObject([{ id: 1, type: "pull-tar", local: "web", remote, verify: "no" }]);
    expect((await root.berth("list-transfers")).stdout).toMatch(
      /^ID +STATE +TYPE +LOCAL +REMOTE\n1 +3\d% +pull-tar +web +http/,
    );
    const { status, stderr } = await root.berth("cancel-transfer", "7");
    expect([status, stderr]).toEqual([1, "berth: no transfer 7\nhint: it may have ended\n"]);
    expect(await root.berth("cancel-transfer", "1")).toMatchObject({ status: 0, stdout: "", stderr: "" });
    await poll("its end", () => (readdirSync(root.machines).length === 0 ? true : undefined));
    expect(await transfers(root)).toEqual([]);
    expect(await transfers(root, "--all")).toMatchObject([{ id: 1, state: "canceled" }]);
    expect((await root.berth("cancel-transfer", "web")).status).toBe(2);
  });

  test("ends with berthd, and says so; --no-wait begins one and tells its number", async () => {
    await using root = pullRoot();
    let stalled = true;
    await using server = await site({ "/web.tar": stalling(() => stalled) });
    await using child = root.start("pull-tar", `${server.url}/web.tar`, "--verify=no");
    await begun(root);
    expect(await root.berth("daemon", "stop")).toMatchObject({
      status: 0,
      stderr: expect.stringMatching(
        /^berth: pull-tar http:\S+\/web.tar web was broken off at \d+%; asked for again, it goes on from what has come\n$/,
      ),
    });
    expect(await child.end).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^berth: the daemon ends/),
    });
    expect(readdirSync(root.machines)).toEqual([]);
    stalled = false;
    const { status, stdout } = await pull(root, `${server.url}/web.tar`, "--verify=no", "--no-wait");
    expect([status, stdout]).toEqual([0, "1\n"]);
    await poll("the image", () => (readdirSync(root.machines).join() === "web" ? true : undefined));
    // Nobody waits for this one, and it can still be learnt why there is no image.
    expect((await pull(root, `${server.url}/none.tar`, "--verify=no", "--no-wait")).stdout).toBe("2\n");
    const known = () => root.berth("list-transfers", "--all");
    let last = await known();
    while (!last.stdout.includes("failed")) last = await known();
    expect(last.stdout).toMatch(/^1 +done +pull-tar +web .*\n2 +failed +pull-tar +none /m);
    expect(last.stderr).toMatch(/^transfer 2: .*404/m);
    expect((await root.berth("list-transfers")).stderr).toBe("no transfers\n");
  });

  test("of nginx that is cancelled goes on where that was", async (ctx) => {
    needsHere(ctx, "tool:nginx");
    await using root = pullRoot();
    const pages = root.directory("pages");
    writeFileSync(join(pages, "web.tar"), ARCHIVE);
    await using server = await nginx(pages, "limit_rate 300k;");
    await using child = root.start("pull-tar", `${server.url}/web.tar`, "--verify=no");
    await poll("some of it", () => {
      const name = downloads(root).find((each) => !each.endsWith(".json"));
      const stat = statSync(join(root.path, "cache/downloads", name ?? ""), { throwIfNoEntry: false });
      return name !== undefined && (stat?.size ?? 0) > 100_000 ? true : undefined;
    });
    child.kill("SIGINT");
    expect((await child.end).status).toBe(130);
    expectPulled(root, await pull(root, `${server.url}/web.tar`, "--verify=no"));
    expect(server.requests()).toEqual([
      "GET /web.tar 200 -",
      expect.stringMatching(/^GET \/web.tar 206 bytes=[1-9]\d{5,}-$/),
    ]);
  });

  test("--keep-download= keeps it for the next one, -N does not", async () => {
    await using root = pullRoot();
    await using server = await site({ "/web.tar": ranged(ARCHIVE, { etag: '"1"' }) });
    const address = `${server.url}/web.tar`;
    expect((await pull(root, address, "web", "--verify=no", "--keep-download=yes")).status).toBe(0);
    expect(downloads(root).length).toBe(2);
    expect((await pull(root, address, "two", "--verify=no", "-N")).status).toBe(0);
    expect(readFileSync(join(root.machines, "two", "data")).length).toBe(1 << 20);
    expect(downloads(root)).toEqual([]);
    expect((await pull(root, address, "three", "--keep-download=perhaps")).status).toBe(2);
  });

  test("onto a disk that is full is ended for that, and for nothing else", async (ctx) => {
    needsHere(ctx, "tool:mount");
    await using root = pullRoot();
    await using server = await site({
      "/web.tar": (_, response) => {
        response.writeHead(200, { etag: '"1"', "content-length": 1 << 30 });
        const more = (): void => {
          if (!response.destroyed) response.write(ARCHIVE, more);
        };
        more();
      },
    });
    const small = root.directory("cache");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=20m,mode=0700", "small", small]);
    try {
      const { status, stderr } = await pull(root, `${server.url}/web.tar`, "--verify=no");
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(/file system .*is (nearly )?full.*\nhint: make room there/),
      ]);
      expect([readdirSync(root.machines), downloads(root)]).toEqual([[], []]);
    } finally {
      execFileSync("umount", [small]);
    }
  });
});
