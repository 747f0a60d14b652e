import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { entriesOf } from "../../../src/sys/entries.ts";

test("a directory's names, and none of one that has been removed", () => {
  const parent = mkdtempSync(join(tmpdir(), "entries-"));
  const path = join(parent, "directory");
  mkdirSync(path);
  writeFileSync(join(path, "one"), "");
  const fd = openSync(path, "r");
  try {
    expect([...entriesOf(fd)].map(String)).toEqual(["one"]);
    rmSync(parent, { recursive: true });
    expect([...entriesOf(fd)]).toEqual([]);
  } finally {
    closeSync(fd);
    rmSync(parent, { recursive: true, force: true });
  }
});
