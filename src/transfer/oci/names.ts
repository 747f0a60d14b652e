import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors.ts";
import { runConfined } from "../../host/confine.ts";
import { EXTRACT_CAPABILITIES } from "../extract.ts";

/** More is no image's; names are as long as who made the layer likes. */
export const NAMES_MAX = 200_000;
const BYTES_MAX = 16 << 20;

/** Into a file, as there may be any number. */
const LIST = `
with_capabilities ${EXTRACT_CAPABILITIES} find layer "$@" -printf '%P\\0' | head -c ${BYTES_MAX + 1} >names
`;

/** What find(1) finds in the `layer` of a directory by these tests: paths of bytes, those above before those below. @throws BerthError */
export async function findNames(directory: string, tests: readonly string[], signal: AbortSignal): Promise<Buffer[]> {
  const { ok, tail, status } = await runConfined(LIST, tests, { directory, writable: true, signal });
  if (!ok) throw new BerthError(`a layer of the image is refused: ${tail.at(-1) ?? status}`);
  const path = join(directory, "names");
  const bytes = await readFile(path);
  await rm(path);
  const names: Buffer[] = [];
  for (let at = 0; at < bytes.length && names.length <= NAMES_MAX; ) {
    const end = bytes.indexOf(0, at);
    names.push(bytes.subarray(at, end < 0 ? bytes.length : end));
    at = (end < 0 ? bytes.length : end) + 1;
  }
  if (bytes.length > BYTES_MAX || names.length > NAMES_MAX) throw tooMany();
  return names;
}

export function tooMany(): BerthError {
  return new BerthError("a layer of the image is refused: it takes away more than any image has");
}
