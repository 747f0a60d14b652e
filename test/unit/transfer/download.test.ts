/** What becomes of downloads whose servers, connections and lengths are not what they should be. */
import { createHash, randomBytes } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BerthError } from "../../../src/errors.ts";
import { localAuthorities } from "../../../src/transfer/authorities.ts";
import { checksumIn } from "../../../src/transfer/checksums.ts";
import { type Download, type DownloadOptions, download } from "../../../src/transfer/download.ts";
import { sweepDownloads } from "../../../src/transfer/download-cache.ts";
import { lineOf } from "../../../src/transfer/http-failure.ts";
import { type Page, ranged, type Site, site } from "../../lib/site.ts";

const BYTES = randomBytes(3 << 20);
const SUM = createHash("sha256").update(BYTES).digest("hex");

let scratch = "";
let logged: string[] = [];
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "download-"));
  logged = [];
});
afterEach(() => rmSync(scratch, { recursive: true }));

const cache = (): string => join(scratch, "cache");
const kept = (): readonly string[] => readdirSync(join(cache(), "downloads")).filter((name) => !name.endsWith(".json"));

function get(server: Site, more: Partial<DownloadOptions> = {}): Promise<Download> {
  return download(new URL(`${server.url}/file`), {
    ...{ cache: cache(), workspace: scratch, signal: new AbortController().signal },
    ...{ onProgress: () => undefined, log: (line) => logged.push(line), pause: 1 },
    ...more,
  });
}

async function reasonOf(promise: Promise<unknown>): Promise<BerthError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof BerthError) return error;
  throw new Error(`no BerthError: ${String(error)}`);
}

/** A page for each request, the last for all that follow. */
function inTurn(...pages: readonly Page[]): Page {
  let turn = 0;
  return (request, response) => {
    const page = pages[Math.min(turn++, pages.length - 1)];
    if (typeof page === "function") page(request, response);
    else response.end(page);
  };
}

async function expectWhole(got: Download, keep = false): Promise<void> {
  expect([got.sha256, got.size]).toEqual([SUM, BYTES.length]);
  expect(readFileSync(got.path).equals(BYTES)).toBe(true);
  await got.close(keep);
  expect(kept().length).toBe(keep ? 1 : 0);
}

const REFUSES: Page = (_, response) => response.writeHead(503).end();

describe("a connection that breaks", () => {
  test("is followed by another one for the rest, and again", async () => {
    const page = ranged(BYTES, { etag: '"1"', cut: 700_000 });
    await using server = await site({ "/file": inTurn(page, page, REFUSES, ranged(BYTES, { etag: '"1"' })) });
    await expectWhole(await get(server));
    expect(server.asked.length).toBe(4);
    expect(logged.filter((line) => line.includes("trying again")).length).toBe(3);
  });

  test("is followed by one for the whole where the server has no name for what it sent", async () => {
    const cut: Page = (_, response) =>
      response
        .writeHead(200, { "content-length": BYTES.length })
        .write(BYTES.subarray(0, 500_000), () => response.destroy());
    await using server = await site({ "/file": inTurn(cut, BYTES) });
    await expectWhole(await get(server));
  });

  test("gets the whole anew where what is there has changed meanwhile, whatever the server answers", async () => {
    for (const second of [
      ranged(BYTES, { etag: '"2"' }),
      inTurn((_, response) => response.writeHead(416).end(), BYTES),
      inTurn(
        (_, response) =>
          response.writeHead(206, { "content-range": `bytes 0-9/${BYTES.length}` }).end(BYTES.subarray(0, 10)),
        BYTES,
      ),
      inTurn(
        (_, response) =>
          response.writeHead(206, { "content-range": "bytes 700000-700001/700002", etag: '"3"' }).end("xx"),
        BYTES,
      ),
    ]) {
      const other = Buffer.from(BYTES).fill(1);
      await using server = await site({ "/file": inTurn(ranged(other, { etag: '"1"', cut: 700_000 }), second) });
      await expectWhole(await get(server));
    }
  });

  test("for good is an end, and what came is kept for the next download, of another process too", async () => {
    const first = ranged(BYTES, { etag: '"1"', cut: 700_000 });
    await using server = await site({
      "/file": inTurn(first, REFUSES, REFUSES, REFUSES, REFUSES, ranged(BYTES, { etag: '"1"' })),
    });
    const { message, hint } = await reasonOf(get(server));
    expect(message).toMatch(/answers 503 Service Unavailable, tried 5 times$/);
    expect(hint).toMatch(/^0\.\d MB of 3\.1 MB are kept for a week: the next pull goes on from there$/);
    expect(kept().length).toBe(1);
    await expectWhole(await get(server));
    expect(logged).toContainEqual(expect.stringMatching(/^going on after 0\.\d MB$/));
    expect(server.asked.length).toBe(6);
  });

  test("is none before its first byte: that is said at once", async () => {
    await using server = await site({ "/file": REFUSES });
    expect((await reasonOf(get(server))).message).toMatch(/answers 503/);
    expect(server.asked.length).toBe(1);
    expect(kept()).toEqual([]);
  });
});

test("who cancels keeps what came, where it can be gone on with", async () => {
  const abort = new AbortController();
  const hangs: Page = (_, response) =>
    response.writeHead(200, { etag: '"1"', "content-length": BYTES.length }).write(BYTES.subarray(0, 1_000_000));
  await using server = await site({ "/file": inTurn(hangs, ranged(BYTES, { etag: '"1"' })) });
  const reason = new BerthError("cancelled");
  const begun = get(server, { signal: abort.signal, onProgress: (at) => at > 0.25 && abort.abort(reason) });
  expect(await reasonOf(begun)).toBe(reason);
  await expectWhole(await get(server));
  expect(logged[0]).toMatch(/^going on after/);
});

test("a server that sends nothing, or next to nothing, is one that is gone", async () => {
  const trickles: Page = (_, response) => {
    response.writeHead(200, { "content-length": 1 << 30 });
    const timer = setInterval(() => response.write("x"), 20);
    response.on("close", () => clearInterval(timer));
  };
  await using server = await site({ "/file": trickles });
  expect((await reasonOf(get(server, { silence: 300 }))).message).toMatch(/sends less than 100 bytes a second/);
});

test("a server that goes on and on before its answer begins is one that is gone", async () => {
  await using server = await site({
    "/file": (_, response) => {
      const timer = setInterval(() => response.writeProcessing(), 20);
      response.on("close", () => clearInterval(timer));
    },
  });
  expect((await reasonOf(get(server, { silence: 300 }))).message).toMatch(/does not get to its answer within 0.3 s/);
});

describe("a size that is known", () => {
  test("is held against what the server says, and against what it sends", async () => {
    const chunked: Page = (_, response) => {
      response.writeHead(200);
      const more = (): void => {
        if (!response.destroyed) response.write(BYTES.subarray(0, 65_536), more);
      };
      more();
    };
    await using longer = await site({ "/file": BYTES });
    expect((await reasonOf(get(longer, { size: 100 }))).message).toMatch(/it has 3145728 bytes, not 100$/);
    await using endless = await site({ "/file": chunked });
    expect((await reasonOf(get(endless, { size: 1 << 20 }))).message).toMatch(/has more than 1048576 bytes/);
    await using shorter = await site({ "/file": (_, response) => response.writeHead(200).end("x".repeat(99)) });
    expect((await reasonOf(get(shorter, { size: 100 }))).message).toMatch(/ends after 99 of 100 bytes/);
    await using right = await site({ "/file": BYTES });
    await expectWhole(await get(right, { size: BYTES.length }));
  });
});

describe("what is kept", () => {
  test("is good as long as the server says that it has not changed", async () => {
    await using server = await site({
      "/file": inTurn(ranged(BYTES, { etag: '"1"' }), ranged(BYTES, { etag: '"1"' }), ranged(BYTES, { etag: '"2"' })),
    });
    await expectWhole(await get(server), true);
    await expectWhole(await get(server), true);
    await expectWhole(await get(server), false);
  });

  test("is one transfer's at a time: another one of the same gets a file of its own", async () => {
    await using server = await site({ "/file": ranged(BYTES, { etag: '"1"' }) });
    const first = await get(server);
    const second = await get(server);
    expect(second.path).toBe(join(scratch, "download"));
    await second.close(true);
    await expectWhole(first, true);
  });

  test("is bounded in number and age, and what nothing is known of goes", async () => {
    await using server = await site({ "/file": ranged(BYTES, { etag: '"1"' }) });
    for (let file = 0; file < 20; file++) await (await get(server, { key: `${file}` })).close(true);
    expect(kept().length).toBe(16);
    const [one = "", other = ""] = kept();
    const old = Date.now() / 1000 - 8 * 24 * 3600;
    utimesSync(join(cache(), "downloads", one), old, old);
    writeFileSync(join(cache(), "downloads", `${other}.json`), "{");
    sweepDownloads(cache());
    expect(kept().length).toBe(14);
    expect(readdirSync(join(cache(), "downloads")).length).toBe(28);
    expect(statSync(join(cache(), "downloads")).mode & 0o777).toBe(0o700);
  });

  test("of before a power cut is what was on the disk then", async () => {
    await using server = await site({
      "/file": inTurn(
        ranged(BYTES, { etag: '"1"', cut: 700_000 }),
        REFUSES,
        REFUSES,
        REFUSES,
        REFUSES,
        ranged(BYTES, { etag: '"1"' }),
      ),
    });
    await reasonOf(get(server));
    const [name = ""] = kept();
    const [file, meta] = [join(cache(), "downloads", name), join(cache(), "downloads", `${name}.json`)];
    writeFileSync(meta, JSON.stringify({ ...JSON.parse(readFileSync(meta, "utf8")), boot: "another", stored: 65_536 }));
    writeFileSync(file, Buffer.concat([BYTES.subarray(0, 65_536), Buffer.alloc(600_000)]));
    await expectWhole(await get(server));
    expect(logged.at(-1)).toBe("going on after 0.1 MB");
  });
});

test("of a refusal the first line is told, harmless", async () => {
  const says =
    (type: string, body: string): Page =>
    (_, response) =>
      response.writeHead(403, { "content-type": type }).end(body);
  for (const [body, said] of [
    ["\n  \x1b[31mno room\r\nmore", ": \\u{1b}[31mno room"],
    ["<html><head><title> Log in\n first </title>", ": Log in\\u{a} first"],
    ["<html><p>x", ""],
    ["", ""],
  ] as const) {
    await using server = await site({ "/file": says("text/plain", body) });
    expect((await reasonOf(get(server))).message).toBe(
      `cannot download ${server.url}/file: the server answers 403 Forbidden${said}`,
    );
  }
});

test("what a server says is read in no time, however it is made", () => {
  const begin = performance.now();
  expect(lineOf(`<title>${" ".repeat(4000)}`)).toBe("");
  expect(lineOf("<title".repeat(600))).toBe("");
  expect(lineOf("<p>")).toBe("");
  const sum = "0".repeat(64);
  expect(checksumIn(`${sum} a${" ".repeat(4 << 20)}b`, "a")).toBeUndefined();
  expect(checksumIn(`${sum}${" ".repeat(4 << 20)}a`, "a")).toBe(sum);
  expect(performance.now() - begin).toBeLessThan(1000);
});

test("a checksum is in a list as sha256sum(1) writes it, or alone", () => {
  const sum = "0aF".padEnd(64, "1");
  for (const line of [`${sum}  a b`, `${sum} *a b\r`, `${sum} ./a b`, `x\n${sum}\t*./a b \n`, sum, `${sum} \n`])
    expect(checksumIn(line, "a b"), JSON.stringify(line)).toBe(sum.toLowerCase());
  for (const line of [`${sum}0  a b`, `${sum}  a`, ` ${sum}  a b`, `${sum.slice(1)}  a b`, `${sum}a b`, ""])
    expect(checksumIn(line, "a b"), JSON.stringify(line)).toBeUndefined();
});

test("authorities of the host's administrator are those in their files, whatever else lies there", () => {
  const pem = (name: string): string => `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----`;
  mkdirSync(join(scratch, "more"));
  writeFileSync(join(scratch, "a.crt"), `about it\n${pem("a")}\n${pem("b")}\n`);
  writeFileSync(join(scratch, "more/c.pem"), pem("c"));
  writeFileSync(join(scratch, "note.txt"), pem("d"));
  writeFileSync(join(scratch, "empty.crt"), "");
  expect(localAuthorities([join(scratch, "none"), scratch]).toSorted()).toEqual(["a", "b", "c"].map(pem));
});
