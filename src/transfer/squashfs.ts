import { constants } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { runConfined } from "../host/confine.ts";
import type { Driver } from "../image/driver.ts";
import { EXTRACT_CAPABILITIES } from "./extract.ts";
import { guardSpace } from "./free-space.ts";
import type { Control } from "./transfer.ts";

/** By itself it ends at the first attribute that it may not set; with -ignore-errors it goes on, whatever the fault, and says so. */
const SCRIPT = `
set +e
with_capabilities ${EXTRACT_CAPABILITIES} unsquashfs -no-progress -force -ignore-errors -da 64 -fr 64 -dest /tree/tree /tree/image
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
  let leftOut = 0;
  const said: string[] = [];
  const faulty = new AbortController();
  const refuse = (line: string): void => {
    said.push(line);
    // It would go on, with a line for each file that it can't read.
    if (said.length === SAID) faulty.abort(refused(said, line));
  };
  await guardSpace(workspace, AbortSignal.any([signal, faulty.signal]), async (either) => {
    // Where it is seen there is no way to the cache, and nothing but a file will do.
    await copyFile(path, join(directory, "image"), constants.COPYFILE_FICLONE);
    await runConfined(SCRIPT, [], {
      ...{ directory, writable: true, signal: either },
      onLine: (line) => {
        const end = /^berth-status (\d+)$/.exec(line)?.[1];
        if (end !== undefined) status = Number(end);
        // Where files have labels of SELinux there is one for each of them, before what else is wrong.
        else if (LEFT_OUT.test(line)) leftOut++;
        else if (FAULT.test(line) && !BESIDE.test(line)) refuse(line);
        else log(line);
      },
    });
  });
  const isWhole = status === 0 || (status === PARTLY && leftOut > 0 && said.length === 0);
  const fault = isWhole ? undefined : (said[0] ?? `it ended with ${status}`);
  if (status === NOT_FOUND)
    throw new BerthError("an image in squashfs needs unsquashfs, not installed here", {
      hint: "apt-get install squashfs-tools",
      kind: "NotSupported",
    });
  if (fault !== undefined) throw refused(said, fault);
  if (leftOut > 0)
    log(`left out: ${leftOut} attributes that can't be set here, as trusted.* and labels of SELinux`, WARNING);
  return tree;
}

function refused(said: readonly string[], fault: string): BerthError {
  const why = said.some((line) => CUT.test(line)) ? "it ends before its end: " : "";
  return new BerthError(`the image is refused: ${why}unsquashfs: ${fault}`, { hint: "nothing of it is left here" });
}

const NOT_FOUND = 127;
/** What is not fatal to it. */
const PARTLY = 2;
const SAID = 50;
const FAULT = /^(FATAL ERROR|\w+: |.*\b(fail|error|corrupt|could not|couldn't|because)\b)/i;
/** What it says of an attribute that is not for us to set; no reason to refuse an image, as it is none to refuse an archive. */
const LEFT_OUT =
  /^write_xattr: failed to write xattr .*because (Operation not permitted|extended attributes are not supported by the destination filesystem)$/;
/** What it says beside those. */
const BESIDE = /^(Ignoring xattrs in filesystem|To avoid this error message|\d+ of these errors printed)/;
/** Of syslog(3). */
const WARNING = 4;
const CUT = /^Read on filesystem failed because EOF$/;
