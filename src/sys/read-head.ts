import { closeSync, openSync, readSync } from "node:fs";

/** What most have. */
const FIRST = 4096;

/** The first `max` bytes of a file, for one whose length somebody else decides. */
export function readHead(path: string, max: number): Buffer {
  const fd = openSync(path, "r");
  try {
    let head = Buffer.allocUnsafe(Math.min(FIRST, max));
    let length = 0;
    for (let got = -1; got !== 0 && length < max; length += got) {
      if (length === head.length) head = Buffer.concat([head], Math.min(2 * length, max));
      got = readSync(fd, head, length, head.length - length, null);
    }
    return head.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
