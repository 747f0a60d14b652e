/** When the daemon's code is compiled for speed: where calls come by the hundred, and not before. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { HotCode } from "../../../src/daemon/hot-code.ts";

/** Calls at `rate` a second; how many of them came before it compiled, null if it did not; and how often it did. */
function callsAt(rate: number, calls: number): { first: number | null; times: number } {
  let [now, times] = [0, 0];
  let first: number | null = null;
  const hot = new HotCode({ clock: () => now, compile: () => times++ });
  for (let call = 1; call <= calls; call++) {
    now += 1000 / rate;
    hot.called();
    if (times > 0) first ??= call;
  }
  return { first, times };
}

describe("calls", () => {
  test("by the hundred compile what answers them, once", () => {
    expect(callsAt(1000, 10_000)).toEqual({ first: 500, times: 1 });
  });
  test("now and then never do, however many there are", () => {
    expect(callsAt(20, 10_000)).toEqual({ first: null, times: 0 });
  });
  test("do when they come fast after a slow time", () => {
    let [now, times] = [0, 0];
    const hot = new HotCode({ clock: () => now, compile: () => times++ });
    for (let call = 0; call < 1250; call++) {
      now += 1000;
      hot.called();
    }
    expect(times).toBe(0);
    for (let call = 0; call < 1000; call++) hot.called();
    expect(times).toBe(1);
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
const hot = new HotCode();
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
