import { constants, open } from "node:fs/promises";

/** A file that somebody names, at once. @throws Error for anything else: nobody may ever write to a pipe */
export async function readRegular(path: string): Promise<Buffer> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw new Error("it is no regular file");
  return file.readFile();
}
