import { mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { KeptFile } from "../../../src/host/kept-file.ts";

function keptFile(): { readonly path: string; readonly parsed: string[]; readonly file: KeptFile<string> } {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-kept-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "file");
  const parsed: string[] = [];
  const file = new KeptFile(path, (text) => {
    parsed.push(text);
    return text.toUpperCase();
  });
  return { path, parsed, file };
}

test("a file that stays as it is is parsed once", () => {
  const { path, parsed, file } = keptFile();
  writeFileSync(path, "one");
  expect([file.read(), file.read(), file.read()]).toEqual(["ONE", "ONE", "ONE"]);
  expect(parsed).toEqual(["one"]);
});

test("one that is written to, replaced by another one of the same size, or removed is parsed anew", () => {
  const { path, file } = keptFile();
  writeFileSync(path, "one");
  expect(file.read()).toBe("ONE");
  writeFileSync(path, "three");
  expect(file.read()).toBe("THREE");
  writeFileSync(`${path}.new`, "seven");
  renameSync(`${path}.new`, path);
  expect(file.read()).toBe("SEVEN");
  rmSync(path);
  expect(file.read()).toBe("");
});

test("one that is not there is as an empty one, until it is there", () => {
  const { path, parsed, file } = keptFile();
  expect([file.read(), file.read()]).toEqual(["", ""]);
  expect(parsed).toEqual([""]);
  writeFileSync(path, "one");
  expect(file.read()).toBe("ONE");
});

test("one that can't be read for another reason is told of, and read when it can be", () => {
  const { path, file } = keptFile();
  mkdirSync(path);
  expect(() => file.read()).toThrow("EISDIR");
  expect(() => file.read()).toThrow("EISDIR");
  rmdirSync(path);
  writeFileSync(path, "one");
  expect(file.read()).toBe("ONE");
});
