/** When the daemon's code is compiled for speed: where calls come by the hundred, and not before. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { HotCode } from "../../../src/daemon/hot-code.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Tells what was said to the compiler, and when its memory could be given back. */
function watched(): { readonly hot: HotCode; readonly said: string[] } {
  const said: string[] = [];
  const compile = (allowed: boolean): void => void said.push(allowed ? "compile" : "no more");
  return { hot: new HotCode({ compile, onCalm: () => said.push("calm") }), said };
}

/** So many calls a second. */
function call(hot: HotCode, calls: number, rate: number): void {
  for (let count = 0; count < calls; count++) {
    vi.advanceTimersByTime(1000 / rate);
    hot.called();
  }
}

describe("calls", () => {
  test("by the hundred compile what answers them, once, and as long as they come", () => {
    const { hot, said } = watched();
    call(hot, 499, 1000);
    expect(said).toEqual([]);
    call(hot, 1, 1000);
    expect(said).toEqual(["compile"]);
    call(hot, 30_000, 1000);
    expect(said).toEqual(["compile"]);
    vi.advanceTimersByTime(10_000);
    expect(said).toEqual(["compile", "no more", "calm"]);
    vi.advanceTimersByTime(60_000);
    call(hot, 1000, 1000);
    expect(said).toEqual(["compile", "no more", "calm", "compile"]);
  });
  test("now and then never do, however many there are", () => {
    const { hot, said } = watched();
    call(hot, 10_000, 20);
    expect(said).toEqual([]);
  });
  test("do when they come fast after a slow time", () => {
    const { hot, said } = watched();
    call(hot, 1250, 1);
    expect(said).toEqual([]);
    call(hot, 1000, 1000);
    expect(said).toEqual(["compile"]);
  });
});

/** What the launcher starts the daemon's runtime with. */
function launcherFlags(): readonly string[] {
  const build = readFileSync(new URL("../../../.scripts/build", import.meta.url), "utf8");
  const [, flags] = /launcher berthd '.* exec "\$node" (.*)'/.exec(build) ?? [];
  return flags?.split(" ") ?? [];
}

const PROGRAM = `
const { HotCode } = await import(process.argv[1]);
const hot = new HotCode({ onCalm: () => undefined });
for (let call = 0; call < Number(process.argv[2]); call++) hot.called();
const sum = (numbers) => { let all = 0; for (const number of numbers) all += number; return all; };
for (let round = 0; round < 20_000; round++) sum([round, 1, 2]);
await new Promise((resolve) => setTimeout(resolve, 100));
sum([1]);
`;

test.each([
  [10, false],
  [1000, true],
])("with the launcher's flags, after %i calls the runtime compiles what is hot: %s", (calls, isCompiled) => {
  const module = new URL("../../../src/daemon/hot-code.ts", import.meta.url).href;
  const flags = [...launcherFlags(), "--trace-opt", "--input-type=module"];
  const said = execFileSync(process.execPath, [...flags, "--eval", PROGRAM, module, String(calls)], {
    encoding: "utf8",
  });
  expect(/completed compiling .*MAGLEV/.test(said)).toBe(isCompiled);
});
