import { constants } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runConfined } from "../host/confine.ts";
import type { Driver } from "../image/driver.ts";
import { EXTRACT_CAPABILITIES } from "./extract.ts";
import { guardSpace } from "./free-space.ts";
import type { Control } from "./transfer.ts";

/** What can't be kept of attributes is no reason to refuse an image: trusted ones are left out as they are of archives. */
const SCRIPT = `
set +e
with_capabilities ${EXTRACT_CAPABILITIES} unsquashfs -no-progress -force -da 64 -fr 64 -dest /tree/tree /tree/image
echo "berth-status $?"
`;

/** Unpacks a file system image of squashfs into a new tree of the workspace, which is returned. By a program, never by mounting it. */
export async function unpackSquashfs(
  path: string,
  workspace: string,
  driver: Driver,
  control: Control,
): Promise<string> {
  const { signal, log } = control;
  const directory = join(workspace, "unpack");
  await mkdir(directory, { mode: 0o700 });
  const tree = join(directory, "tree");
  driver.create(tree);
  let status: number | undefined;
  const said: string[] = [];
  await guardSpace(workspace, signal, async (either) => {
    // Where it is seen there is no way to the cache, and nothing but a file will do.
    await copyFile(path, join(directory, "image"), constants.COPYFILE_FICLONE);
    await runConfined(SCRIPT, [], {
      ...{ directory, writable: true, signal: either },
      onLine: (line) => {
        const end = /^berth-status (\d+)$/.exec(line)?.[1];
        if (end !== undefined) status = Number(end);
        else if (FAULT.test(line) && said.length < SAID) said.push(line);
        else log(line);
      },
    });
  });
  const fault =
    status === 0
      ? undefined
      : (said.find((line) => !ATTRIBUTE.test(line)) ?? (status === PARTLY ? undefined : `it ended with ${status}`));
  if (status === NOT_FOUND)
    throw new BerthError("an image in squashfs needs unsquashfs, not installed here", {
      hint: "apt-get install squashfs-tools",
      kind: "NotSupported",
    });
  if (fault !== undefined) {
    const why = said.some((line) => CUT.test(line)) ? "it ends before its end: " : "";
    throw new BerthError(`the image is refused: ${why}unsquashfs: ${fault}`, { hint: "nothing of it is left here" });
  }
  return tree;
}

const NOT_FOUND = 127;
/** What is not fatal to it. */
const PARTLY = 2;
const SAID = 50;
const FAULT = /^(FATAL ERROR|\w+: |.*\b(fail|error|corrupt|could not|couldn't|because)\b)/i;
const ATTRIBUTE = /xattr/i;
const CUT = /^Read on filesystem failed because EOF$/;
