import { closeSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { nextData, nextHole } from "../../../src/sys/copy-data.ts";

test("behind the end of a file that has become shorter there are neither data nor holes, and that is no error", () => {
  const path = join(tmpdir(), `copy-data-${process.pid}-${process.hrtime.bigint()}`);
  writeFileSync(path, "five\n");
  const fd = openSync(path, "r");
  try {
    expect([nextData(fd, 0), nextHole(fd, 0)]).toEqual([0, 5]);
    expect([nextData(fd, 9), nextHole(fd, 9)]).toEqual([null, null]);
  } finally {
    closeSync(fd);
    rmSync(path);
  }
});
