import { createReadStream, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { BerthError, errorCode } from "../errors.ts";
import { CREDENTIALS_MAX } from "../plan/credentials.ts";
import type { CredentialFacts } from "../plan/facts.ts";
import type { Credential } from "../spec/machine-spec.ts";
import { quote } from "../spec/quote.ts";

/** What can be told of the sources without reading them, by path. */
export function readCredentialFacts(credentials: readonly Credential[]): Readonly<Record<string, CredentialFacts>> {
  const paths = credentials.flatMap(({ from }) => (from.kind === "path" ? [from.path] : []));
  return Object.fromEntries(paths.map((path) => [path, factsOf(path)]));
}

function factsOf(path: string): CredentialFacts {
  try {
    const stat = statSync(path);
    return stat.isFile() ? { type: "file", size: stat.size } : { type: "other" };
  } catch (error) {
    return { type: "missing", errno: errorCode(error) ?? "EIO" };
  }
}

/**
 * Reads every credential, once: a socket or a pipe gives its own only once, and a machine that reboots gets the same
 * again. `secrets` are those that were given literally, by id.
 * @throws BerthError naming credential, path and errno; or when they are more than CREDENTIALS_MAX bytes together
 */
export async function loadCredentials(
  credentials: readonly Credential[],
  secrets: ReadonlyMap<string, Buffer>,
): Promise<ReadonlyMap<string, Buffer>> {
  const loaded = new Map<string, Buffer>();
  let room = CREDENTIALS_MAX;
  const add = (id: string, bytes: Buffer): void => {
    if (loaded.has(id)) throw new BerthError(`credential ${quote(id)} is given more than once`);
    room -= bytes.length;
    if (room < 0)
      throw new BerthError(`the credentials have more than ${CREDENTIALS_MAX} bytes together`, {
        hint: "what is larger is better bound into the machine by --bind-ro",
      });
    loaded.set(id, bytes);
  };
  for (const { id, from } of credentials) {
    if (from.kind === "value") add(id, secrets.get(id) ?? Buffer.alloc(0));
    else for (const [name, path] of filesOf(id, from.path)) add(name, await read(name, path, room));
  }
  return loaded;
}

/** A directory stands for all files below it, which are named after it and their path in it; links are passed over. */
function filesOf(id: string, path: string): readonly (readonly [id: string, path: string])[] {
  if (!statAt(id, path).isDirectory()) return [[id, path]];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .flatMap((entry) => filesOf(`${id}_${entry.name}`, join(path, entry.name)));
}

async function read(id: string, path: string, room: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of (await open(id, path)) as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > room) break; // too much: said by who counts
    }
  } catch (error) {
    throw unreadable(id, path, error);
  }
  return Buffer.concat(chunks);
}

async function open(id: string, path: string): Promise<Readable> {
  if (!statAt(id, path).isSocket()) return createReadStream(path);
  // When it is needed: it takes milliseconds to load.
  const { connect } = process.getBuiltinModule("node:net");
  return connect(path);
}

function statAt(id: string, path: string): ReturnType<typeof statSync> & object {
  try {
    return statSync(path);
  } catch (error) {
    throw unreadable(id, path, error);
  }
}

function unreadable(id: string, path: string, error: unknown): BerthError {
  return new BerthError(`credential ${quote(id)} can't be read from ${path}: ${errorCode(error) ?? String(error)}`);
}
