import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadFilter } from "../../../src/exec/seccomp-filter.ts";
import { seccompPolicy } from "../../../src/plan/seccomp-policy.ts";
import { filtering } from "../../lib/filtering.ts";

const POLICY = seccompPolicy(filtering(), [], "x64");
const OTHER = seccompPolicy(filtering(), ["CAP_SYS_TIME"], "x64");
const PROGRAM = Buffer.from("0123456789abcdef");

let cache: string;
let compiled = 0;
const compile = (): Buffer => {
  compiled++;
  return PROGRAM;
};
const load = (policy = POLICY) => loadFilter(policy, cache, compile);
const files = () => readdirSync(join(cache, "seccomp")).map((name) => join(cache, "seccomp", name));
function file(): string {
  const [path, ...others] = files();
  if (path === undefined || others.length > 0) throw new Error(`one file expected: ${files()}`);
  return path;
}

beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "berth-seccomp-"));
  compiled = 0;
});
afterEach(() => rmSync(cache, { recursive: true }));

test("a policy is compiled once", () => {
  expect(load()).toEqual(PROGRAM);
  expect(load()).toEqual(PROGRAM);
  expect(compiled).toBe(1);
  expect(statSync(join(cache, "seccomp")).mode & 0o777).toBe(0o700);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

test("another policy and another architecture are another file", () => {
  load();
  load(OTHER);
  load(seccompPolicy(filtering(), [], "arm64"));
  expect(compiled).toBe(3);
  expect(files()).toHaveLength(3);
});

test.each<[string, (path: string) => void]>([
  ["truncated", (path) => writeFileSync(path, readFileSync(path).subarray(8))],
  ["empty", (path) => writeFileSync(path, "")],
  ["edited", (path) => writeFileSync(path, readFileSync(path).fill(0x61, 3, 4))],
  ["longer", (path) => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(8)]))],
  ["huge", (path) => writeFileSync(path, Buffer.alloc(100_000))],
  ["writable for the group", (path) => chmodSync(path, 0o620)],
  ["writable for all", (path) => chmodSync(path, 0o602)],
  ["of another owner", (path) => chownSync(path, 65534, 65534)],
  [
    "a link",
    (path) => {
      writeFileSync(join(cache, "elsewhere"), readFileSync(path), { mode: 0o600 });
      rmSync(path);
      symlinkSync(join(cache, "elsewhere"), path);
    },
  ],
])("a file that is %s is compiled again and replaced", (_, damage) => {
  load();
  damage(file());
  expect(load()).toEqual(PROGRAM);
  expect(compiled).toBe(2);
  expect(load()).toEqual(PROGRAM);
  expect(compiled).toBe(2);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

test("a good file under another policy's name is not taken", () => {
  load();
  const first = file();
  load(OTHER);
  const second = files().find((path) => path !== first) ?? "";
  writeFileSync(second, readFileSync(first));
  load(OTHER);
  expect(compiled).toBe(3);
});

test("a cache that can't be written costs only the time", () => {
  writeFileSync(join(cache, "seccomp"), "not a directory");
  expect(load()).toEqual(PROGRAM);
  expect(load()).toEqual(PROGRAM);
  expect(compiled).toBe(2);
});

test("the compiler's error is the caller's", () => {
  const failing = () => {
    throw new Error("no libseccomp");
  };
  expect(() => loadFilter(POLICY, cache, failing)).toThrow("no libseccomp");
});
