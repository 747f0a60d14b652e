/** Whole vitest runs on small files written here: what their last line and exit status are. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
/** Inside the checkout, so that the files find vitest and test/lib. */
let directory = "";

beforeAll(() => {
  mkdirSync(join(root, "test/.cache"), { recursive: true });
  directory = mkdtempSync(join(root, "test/.cache/reporter-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

interface Run {
  readonly status: number | null;
  readonly output: string;
  readonly last: string;
}

function vitest(body: string, env: NodeJS.ProcessEnv = {}, args: string[] = []): Run {
  const file = join(directory, "fixture.test.ts");
  writeFileSync(file, body);
  const config = join(root, "test/integration/harness/fixture.config.ts");
  const command = [join(root, "node_modules/vitest/vitest.mjs"), "run", "--config", config, ...args];
  const clean = { ...process.env, BERTH_MUST_RUN: "", BERTH_TEST_SUMMARY: "", FIXTURE: file };
  // One pipe for both streams: "last" is what a person sees last.
  const result = spawnSync("sh", ["-c", 'exec "$0" "$@" 2>&1', process.execPath, ...command], {
    cwd: root,
    encoding: "utf8",
    env: { ...clean, ...env },
  });
  const output = result.stdout;
  return { status: result.status, output, last: output.trimEnd().split("\n").at(-1) ?? "" };
}

const HEAD = `
  import { afterAll, beforeAll, describe, test } from "vitest";
  import { needs, needsHere } from "../../lib/requires.ts";
  import { checkLeaks } from "../../lib/leaks.ts";
  import { openSync } from "node:fs";
`;
const PASS = 'test("passes", () => {});';

const CASES: readonly [name: string, body: string, last: string, status: number][] = [
  ["passes", PASS, "1 passed, 0 failed", 0],
  ["fails", `${PASS} test("fails", () => { throw new Error("x"); });`, "1 passed, 1 failed", 1],
  ["skip with a reason", `${PASS} test("s", (ctx) => ctx.skip("why"));`, "1 passed, 0 failed, 1 skipped", 0],
  [
    "beforeAll fails",
    `describe("d", () => { beforeAll(() => { throw 1; }); ${PASS} });`,
    "0 passed, 1 failed, 1 skipped",
    1,
  ],
  ["afterAll fails", `describe("d", () => { afterAll(() => { throw 1; }); ${PASS} });`, "1 passed, 1 failed", 1],
  ["the file does not load", "throw new Error('load');", "0 passed, 1 failed", 1],
  ["no test in the file", "", "0 passed, 1 failed", 1],
  [
    "error nobody caught",
    `${PASS} setTimeout(() => { throw new Error("late"); }); test("w", () => new Promise((r) => setTimeout(r, 50)));`,
    "2 passed, 1 failed",
    1,
  ],
  [
    "the worker dies: its test, and the error",
    `test("dies", () => { process.kill(process.pid, "SIGKILL"); });`,
    "0 passed, 2 failed",
    1,
  ],
  ["a leak", `checkLeaks(); test("leaks", () => { openSync("/etc/hostname", "r"); });`, "0 passed, 1 failed", 1],
];

test.each(CASES)("%s", (_name, body, last, status) => {
  const result = vitest(HEAD + body);
  expect(result.last, result.output).toBe(last);
  expect(result.status).toBe(status);
});

test("names each skip and its reason", () => {
  const { output } = vitest(`${HEAD} describe("d", () => { test("s", (ctx) => ctx.skip("no moon tonight")); });`);
  expect(output).toMatch(/^ {2}\S+fixture.test.ts > d > s: no moon tonight$/m);
});

test("tests that -t did not choose are no skips, choosing none is a failure", () => {
  const body = `${HEAD} ${PASS} test("other", () => {});`;
  expect(vitest(body, {}, ["-t", "passes"])).toMatchObject({ last: "1 passed, 0 failed", status: 0 });
  expect(vitest(body, {}, ["-t", "nothing like it"])).toMatchObject({ last: "0 passed, 1 failed", status: 1 });
});

test("a run of no file at all is a failure", () => {
  expect(vitest(PASS, {}, ["no-such-file"])).toMatchObject({ last: "0 passed, 1 failed", status: 1 });
});

test("the line goes to the file BERTH_TEST_SUMMARY names instead", () => {
  const file = join(directory, "summary");
  const { output } = vitest(HEAD + PASS, { BERTH_TEST_SUMMARY: file });
  expect(existsSync(file) && readFileSync(file, "utf8")).toBe("1 passed, 0 failed\n");
  expect(output).not.toContain("1 passed, 0 failed");
});

const LACKING = `${HEAD} needs("tool:no-such-tool"); test("t", () => {});`;

test("needs(): a missing tool is a skip, and a failure where all must run", () => {
  const lenient = vitest(LACKING);
  expect(lenient).toMatchObject({ last: "0 passed, 0 failed, 1 skipped", status: 0 });
  expect(lenient.output).toContain("t: needs tool:no-such-tool: no no-such-tool in PATH");
  const strict = vitest(LACKING, { BERTH_MUST_RUN: "1" });
  expect(strict).toMatchObject({ last: "0 passed, 1 failed", status: 1 });
  expect(strict.output).toContain("needs tool:no-such-tool");
});

test("needs() holds for its describe block alone, needsHere() for its test", () => {
  const block = `describe("d", () => { needs("tool:no-such-tool"); test("in", () => {}); }); ${PASS}`;
  expect(vitest(HEAD + block).last).toBe("1 passed, 0 failed, 1 skipped");
  const here = `test("here", (ctx) => { needsHere(ctx, "tool:no-such-tool"); throw new Error("ran"); }); ${PASS}`;
  expect(vitest(HEAD + here).last).toBe("1 passed, 0 failed, 1 skipped");
});

test("where all must run, a host may still lack a kernel version; a skip without a reason may not be", () => {
  const env = { BERTH_MUST_RUN: "1" };
  const kernel = vitest(`${HEAD} needs("kernel:999.0"); ${PASS}`, env);
  expect(kernel).toMatchObject({ last: "0 passed, 0 failed, 1 skipped", status: 0 });
  const silent = vitest(`${HEAD} ${PASS} test.skip("s", () => {});`, env);
  expect(silent).toMatchObject({ last: "1 passed, 1 failed", status: 1 });
});

test("what passes only when it is run again is listed with what it had failed by", () => {
  const result = vitest(
    `${HEAD} ${PASS} let n = 0; test("f", { retry: 1 }, () => { if (n++ === 0) throw new Error("first\\nand more"); });`,
  );
  expect(result.last, result.output).toBe("2 passed, 0 failed");
  expect(result.output).toMatch(/\nPassed when it was run again:\n {2}\S+\.test\.ts > f: first\n/);
});
