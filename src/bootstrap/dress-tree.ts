import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { addUsers, readUserFiles } from "./added-users.ts";
import type { BuildPlan } from "./build-plan.ts";
import { putInTree } from "./put-in-tree.ts";
import { readRegular } from "./read-regular.ts";

/** Puts the recipe's files and users into `directory`/tree. Files come first: they may be a new user's /etc/skel. */
export async function dressTree({ files, users }: BuildPlan, directory: string, signal: AbortSignal): Promise<void> {
  const entries = files.map(async ({ source, path, mode }) => ({
    path,
    mode,
    content: await read(source),
    uid: 0,
    gid: 0,
  }));
  await putInTree(directory, await Promise.all(entries), signal);
  const keys = users.flatMap(({ key }) => key ?? []).map(async (key) => [key, await read(key)] as const);
  const added = addUsers(readUserFiles(join(directory, "tree")), users, new Map(await Promise.all(keys)));
  await putInTree(directory, added, signal);
}

/** @throws BerthError, before anything has been built, when the recipe names a file that is not there */
export async function requireFiles({ files, users }: BuildPlan): Promise<void> {
  const lacking = [
    ...files.filter(({ digest }) => digest === null).map(({ source }) => source),
    ...users.flatMap(({ key, keyDigest }) => (key !== undefined && keyDigest === null ? [key] : [])),
  ];
  const [first] = lacking;
  if (first === undefined) return;
  await read(first);
  throw new BerthError(`cannot read ${first}, which the recipe puts into the tree: it has just changed`, {
    hint: "try again",
  });
}

async function read(path: string): Promise<Buffer> {
  return readRegular(path).catch((error: Error) => {
    throw new BerthError(`cannot read ${path}, which the recipe puts into the tree: ${error.message}`);
  });
}
