import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { putFile, putNamedFile, putSymlink } from "../../../src/copy/put.ts";
import { copyContent } from "../../../src/host/copy-content.ts";
import { entriesOf } from "../../../src/sys/entries.ts";

let directory: string;
let fd: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "put-"));
  fd = openSync(directory, constants.O_DIRECTORY);
});
afterEach(() => {
  closeSync(fd);
  rmSync(directory, { recursive: true });
});

function place(name: string, replace = false) {
  return { directory: fd, name: Buffer.from(name), replace };
}

/** With names of its own while it is written, or without one. */
const WAYS = [
  ["without a name", putFile],
  ["by a temporary name", putNamedFile],
] as const;

test.each(WAYS)("a file that is made %s is seen when it is whole", (_, put) => {
  put(place("new"), (file) => {
    writeSync(file, "half");
    expect(existsSync(join(directory, "new"))).toBe(false);
    writeSync(file, ", whole");
  });
  expect(readFileSync(join(directory, "new"), "utf8")).toBe("half, whole");
  expect(readdirSync(directory)).toEqual(["new"]);
});

test.each(WAYS)("nothing stays of one that fails %s, and what was there does", (_, put) => {
  writeFileSync(join(directory, "old"), "old");
  const fill = (): never => {
    throw new Error("no");
  };
  for (const name of ["old", "new"]) expect(() => put(place(name, true), fill)).toThrow("no");
  expect(readdirSync(directory)).toEqual(["old"]);
  expect(readFileSync(join(directory, "old"), "utf8")).toBe("old");
});

test.each(WAYS)("one that is there is replaced only if that is asked for: %s", (_, put) => {
  writeFileSync(join(directory, "old"), "old");
  const fill = (file: number): void => void writeSync(file, "new");
  expect(() => put(place("old"), fill)).toThrow("EEXIST");
  expect(readFileSync(join(directory, "old"), "utf8")).toBe("old");
  put(place("old", true), fill);
  expect(readFileSync(join(directory, "old"), "utf8")).toBe("new");
  expect(readdirSync(directory)).toEqual(["old"]);
});

test.each(WAYS)("a link is replaced and never written through, a directory never replaced: %s", (_, put) => {
  writeFileSync(join(directory, "target"), "kept");
  symlinkSync("target", join(directory, "link"));
  mkdirSync(join(directory, "sub"));
  const fill = (file: number): void => void writeSync(file, "new");
  put(place("link", true), fill);
  expect(lstatSync(join(directory, "link")).isFile()).toBe(true);
  expect(readFileSync(join(directory, "target"), "utf8")).toBe("kept");
  expect(() => put(place("sub", true), fill)).toThrow("EISDIR");
  expect(readdirSync(directory).sort()).toEqual(["link", "sub", "target"]);
});

test("links have their owner and times, also before 1970 and with bytes that are no text", () => {
  const { uid, gid } = lstatSync(directory);
  const target = Buffer.from([0xff, 0x2f, 0x41]);
  const times = { atimeNs: -1n, mtimeNs: -1_500_000_000n };
  putSymlink(place("link"), target, { uid, gid, mode: 0, times, extended: [] });
  expect(readlinkSync(join(directory, "link"), { encoding: "buffer" })).toEqual(target);
  expect(lstatSync(join(directory, "link"), { bigint: true }).mtimeNs).toBe(-1_500_000_000n);
  expect(() => putSymlink(place("link"), target, { uid, gid, mode: 0, times, extended: [] })).toThrow("EEXIST");
  expect(readdirSync(directory)).toEqual(["link"]);
});

test("entries are all there, whatever their bytes", () => {
  const names = [Buffer.from("a\nb"), Buffer.from([0xfe, 0xff]), Buffer.from("...")];
  for (const name of names) writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), name]), "");
  for (let number = 0; number < 3000; number++) writeFileSync(join(directory, `file-${number}`), "");
  const found = [...entriesOf(fd)];
  expect(found).toHaveLength(3003);
  for (const name of names) expect(found.some((each) => each.equals(name))).toBe(true);
});

test("content is copied with its holes, and no more of it than the file says that it has", () => {
  const from = openSync(join(directory, "from"), "w+");
  const to = openSync(join(directory, "to"), "w+");
  writeSync(from, "end", 5 << 20);
  let bytes = 0;
  const size = (5 << 20) + 3;
  copyContent(from, to, { size, onBytes: (count) => (bytes += count) });
  expect(lstatSync(join(directory, "to"))).toMatchObject({ size, blocks: lstatSync(join(directory, "from")).blocks });
  expect(bytes).toBeGreaterThan(0);
  expect(readFileSync(join(directory, "to")).equals(readFileSync(join(directory, "from")))).toBe(true);
  copyContent(from, to, { size: 100, onBytes: () => undefined });
  expect(lstatSync(join(directory, "to")).size).toBe(100);
  closeSync(from);
  closeSync(to);
});
