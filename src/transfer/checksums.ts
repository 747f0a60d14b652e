import { existsSync } from "node:fs";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { runConfined } from "../host/confine.ts";
import type { Paths } from "../host/paths.ts";
import { fetchSmall } from "./http.ts";
import { showUrl } from "./url.ts";

/**
 * What a download's SHA-256 has to be, as the server's files beside it say: NAME.sha256, or SHA256SUMS. As systemd's
 * importer looks for them.
 */

const SIZE_MAX = 4 << 20;
const SIGNED_INLINE = "-----BEGIN PGP SIGNED MESSAGE-----";

/** @throws BerthError when no file says it */
export async function publishedChecksum(url: URL, signal: AbortSignal): Promise<string> {
  const name = fileName(url);
  for (const list of [`${name}.sha256`, "SHA256SUMS"]) {
    const checksum = checksumIn(await fetchBeside(url, list, signal), name);
    if (checksum !== undefined) return checksum;
  }
  throw new BerthError(
    `${showUrl(url)} can't be verified: neither ${name}.sha256 nor SHA256SUMS beside it has its checksum`,
    { hint: "--verify=no takes it as it is" },
  );
}

/** The same, of files that one of the keys signed. `workspace` gets what gpgv(1) needs. */
export async function signedChecksum(url: URL, paths: Paths, workspace: string, signal: AbortSignal): Promise<string> {
  const keyring = requireKeyring(paths);
  const directory = join(workspace, "verify");
  await mkdir(directory);
  await copyFile(keyring, join(directory, "keyring.gpg"));
  const inline = await fetchBeside(url, `${fileName(url)}.sha256`, signal);
  const file = inline?.includes(SIGNED_INLINE) ? inline : null;
  const sums = file ?? (await fetchBeside(url, "SHA256SUMS", signal));
  const signature = file === null ? await fetchBytes(url, "SHA256SUMS.gpg", signal) : null;
  if (sums === null || (file === null && signature === null))
    throw new BerthError(`${showUrl(url)} can't be verified: there is no signed list of checksums beside it`, {
      hint: "--verify=checksum does without a signature",
    });
  await writeFile(join(directory, "sums"), sums);
  if (signature !== null) await writeFile(join(directory, "signature"), signature);
  // For gpgv, which is nobody then; whatever our umask is.
  await runCommand("chmod", ["-R", "a=rX", directory]);
  const max = Buffer.byteLength(sums);
  const text = await verified(directory, { detached: signature !== null, keyring, paths, max }, signal);
  const checksum = checksumIn(signature === null ? text : sums, fileName(url));
  if (checksum !== undefined) return checksum;
  throw new BerthError(`${showUrl(url)} can't be verified: the signed list does not have its checksum`);
}

/** Lines that gpgv(1) says of signatures, for people and for programs. */
const LINES_MAX = 1000;

interface Verification {
  readonly detached: boolean;
  readonly keyring: string;
  readonly paths: Paths;
  /** Bytes. What is signed as text has less than the list itself; a message that is packed may have any number. */
  readonly max: number;
}

/** gpgv(1) reads what is not trusted, so it has no rights and sees nothing else. Answers what it says was signed. */
async function verified(
  directory: string,
  { detached, keyring, paths, max }: Verification,
  signal: AbortSignal,
): Promise<string> {
  const script = `as_nobody gpgv --quiet --status-fd 2 --homedir /tree --keyring /tree/keyring.gpg ${detached ? "/tree/signature /tree/sums" : "--output - /tree/sums"}\n`;
  const lines: string[] = [];
  const signed: Buffer[] = [];
  const tooLong = new AbortController();
  let length = 0;
  const { ok, status } = await runConfined(script, [], {
    directory,
    writable: false,
    signal: AbortSignal.any([signal, tooLong.signal]),
    onOutput: (chunk) => {
      length += chunk.length;
      if (length <= max) signed.push(chunk);
      else tooLong.abort(new BerthError(`${REFUSED}there is more in it than the list of them has`));
    },
    onLine: (line) => {
      if (lines.push(line) > LINES_MAX) tooLong.abort(new BerthError(`${REFUSED}there is no end of signatures in it`));
    },
  });
  const spent = spentBy(lines);
  if (spent !== undefined)
    throw new BerthError(`${REFUSED}${spent}`, {
      hint: "its publisher has another key by now, most likely; --verify=checksum does without",
    });
  if (ok) return Buffer.concat(signed).toString("utf8");
  if (status === "ended with status 127")
    throw new BerthError("signatures can't be checked: gpgv is not installed", {
      hint: "apt-get install gpgv, or --verify=checksum",
      kind: "NotSupported",
    });
  throw refused(lines, status, keyring, places(paths)[0]);
}

/** How lines of gpgv(1) begin that are for people, and those that are for programs: DETAILS of GnuPG has their words. */
const SAID = "gpgv: ";
const STATUS = "[GNUPG:] ";

const REFUSED = "the signature of the checksums is refused: ";

/** Of one signature there is one of these words, or GOODSIG and others that stand for a fault of gpgv(1) as well. */
const SPENT = new Map<string | undefined, (key: string) => string>([
  ["EXPSIG", () => "it has expired"],
  ["EXPKEYSIG", (key) => `it is of key ${key}, which has expired`],
  ["REVKEYSIG", (key) => `it is of key ${key}, which has been revoked`],
]);

/** Why a signature is good for nothing any more, to which gpgv(1) has no objection. */
function spentBy(lines: readonly string[]): string | undefined {
  for (const [word, key = ""] of statusesOf(lines)) {
    const why = SPENT.get(word);
    if (why !== undefined && KEY_ID.test(key)) return why(key);
  }
  return undefined;
}

function statusesOf(lines: readonly string[]): readonly (readonly string[])[] {
  return lines.filter((line) => line.startsWith(STATUS)).map((line) => line.slice(STATUS.length).split(" "));
}

/** `own`: the keyring among the settings. */
function refused(lines: readonly string[], status: string, keyring: string, own: string | undefined): BerthError {
  const statuses = statusesOf(lines);
  const said = lines.findLast((line) => line.startsWith(SAID))?.slice(SAID.length) ?? status;
  // What was changed is not to be had by looking away.
  if (statuses.some(([word]) => word === "BADSIG"))
    return new BerthError(`${REFUSED}${said}`, {
      hint: "the list is not what that key has signed: try again later, or ask its publisher",
    });
  const unknown = statuses.find(([word]) => word === "NO_PUBKEY")?.[1];
  const trusted = `the keys that are trusted are those in ${keyring}`;
  const without = "--verify=checksum does without";
  if (unknown === undefined || !KEY_ID.test(unknown))
    return new BerthError(`${REFUSED}${said}`, { hint: `${trusted}; ${without}` });
  const add =
    keyring === own
      ? `gpg --export ${unknown} >>${keyring} adds it`
      : `${own} stands in for it (gpg --export ${unknown})`;
  return new BerthError(`${REFUSED}it is of key ${unknown}, which is not known`, {
    hint: `${trusted}; ${add}, ${without}`,
  });
}

const KEY_ID = /^[0-9A-F]{8,64}$/;

function places(paths: Paths): readonly string[] {
  return [paths.etc, "/etc/systemd", "/usr/lib/systemd"].map((directory) => join(directory, "import-pubring.gpg"));
}

function requireKeyring(paths: Paths): string {
  const keyring = places(paths).find(existsSync);
  if (keyring !== undefined) return keyring;
  throw new BerthError("signatures can't be checked: there is no keyring", {
    hint: `put the publisher's public keys into ${places(paths)[0]} (gpg --export), or use --verify=checksum`,
    kind: "NotSupported",
  });
}

const HASH = /^[0-9a-fA-F]{64}(?=\s|$)/;
/** What may stand before a name: `*` of who reads files as binary ones. */
const MARK = /^\*?(\.\/)?/;

/**
 * A line `HASH  NAME` or `HASH *NAME`, or of the file's own list a hash alone. What a line ends with is cut off before any pattern sees
 * it: lists are as long as the server likes, and so are spaces in them.
 */
export function checksumIn(text: string | null, name: string): string | undefined {
  for (const line of (text ?? "").split("\n")) {
    const hash = HASH.exec(line)?.[0];
    if (hash === undefined) continue;
    const file = line.slice(hash.length).trim();
    if (file === "" || file.replace(MARK, "") === name) return hash.toLowerCase();
  }
  return undefined;
}

async function fetchBeside(url: URL, name: string, signal: AbortSignal): Promise<string | null> {
  return (await fetchBytes(url, name, signal))?.toString("utf8") ?? null;
}

async function fetchBytes(url: URL, name: string, signal: AbortSignal): Promise<Buffer | null> {
  const beside = new URL(url);
  beside.pathname = `${url.pathname.slice(0, url.pathname.lastIndexOf("/") + 1)}${encodeURIComponent(name)}`;
  return fetchSmall(beside, SIZE_MAX, signal);
}

export function fileName(url: URL): string {
  const last = url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
