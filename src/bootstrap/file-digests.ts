import { createHash } from "node:crypto";
import type { Additions } from "./additions.ts";
import { readRegular } from "./read-regular.ts";

/** SHA-256 in hex by path of the files that a recipe puts into trees. Of what can't be read there is none. */
export async function digestFiles({ files, users }: Additions): Promise<ReadonlyMap<string, string>> {
  const paths = [...files.map(({ source }) => source), ...users.flatMap(({ key }) => key ?? [])];
  const digests = paths.map(async (path) => {
    const content = await readRegular(path).catch(() => null);
    return content === null ? [] : [[path, createHash("sha256").update(content).digest("hex")] as const];
  });
  return new Map((await Promise.all(digests)).flat());
}
