import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { listedPath, strikeListed } from "../../../src/transfer/oci/listing.ts";

test.each([
  ["block 0: ./", ""],
  ["block 7: ./usr//share/./doc/", "usr/share/doc"],
  ["block 7: /usr", "usr"],
  ["block 7: block 8: x", "block 8: x"],
  [String.raw`block 7: a\nb\\n\101\377\*\t/`, "a\nb\\nA\xff*\t"],
])("what tar(1) lists as %j is %j", (line, path) => {
  expect(listedPath(line)).toBe(path);
});

test("of a listing of many pieces all is taken away, and nothing else", async () => {
  const directory = mkdtempSync(join(tmpdir(), "listing-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "listing");
  const names = Array.from({ length: 20_000 }, (_, index) => `usr/\u00fc-${index}`);
  writeFileSync(
    file,
    [...names.map((name, index) => `block ${index}: ./${name}`), "block 9: ** Block of NULs **\n"].join("\n"),
  );
  const bytes = (name: string): string => Buffer.from(name).toString("latin1");
  const paths = new Map([...names, "usr", "usr/\u00fc"].map((name) => [bytes(name), name]));
  await strikeListed(file, paths, new AbortController().signal);
  expect([...paths.values()]).toEqual(["usr", "usr/\u00fc"]);
});
