/** What the daemon keeps of a machine for its next life: written whole, and set aside when it can't be understood. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Paths } from "../../../src/host/paths.ts";
import { type Damage, type SavedState, StateFiles } from "../../../src/manager/state-file.ts";

let run = "";
let files: StateFiles;
beforeEach(() => {
  run = mkdtempSync(join(tmpdir(), "state-"));
  files = new StateFiles({ run } as Paths);
});
afterEach(() => rmSync(run, { recursive: true }));

const STATE: SavedState = {
  version: 1,
  name: "m",
  next: "restart",
  restarts: 2,
  failure: { reason: "it died", hint: null, console: ["last", "words"], time: 1 },
  bootId: "b",
};

function readAll(): { states: readonly SavedState[]; damages: Damage[] } {
  const damages: Damage[] = [];
  return { states: files.readAll((damage) => damages.push(damage)), damages };
}

function put(name: string, content: string | Buffer): string {
  mkdirSync(join(run, "state"), { recursive: true });
  const path = join(run, "state", name);
  writeFileSync(path, content);
  return path;
}

test("what can't be removed does no harm", () => {
  mkdirSync(join(run, "state/m.json"), { recursive: true });
  files.remove("m");
  expect(readdirSync(join(run, "state"))).toEqual(["m.json"]);
});

test("what is written is read, until it is removed", () => {
  expect(readAll()).toEqual({ states: [], damages: [] });
  const { version, ...state } = STATE;
  files.write(state);
  const other = { name: "other", failure: { reason: "it died", hint: null, console: [], time: null }, next: null };
  files.write({ ...state, ...other });
  expect(readAll().states).toEqual([STATE, { ...STATE, ...other }]);
  expect(version).toBe(1);
  files.remove("m");
  files.remove("m");
  expect(readAll().states.map(({ name }) => name)).toEqual(["other"]);
});

describe("a file that can't be used", () => {
  const DAMAGE: Readonly<Record<string, string | Buffer>> = {
    empty: "",
    cut: JSON.stringify(STATE).slice(0, -5),
    binary: Buffer.from([0xff, 0, 0x7b, 0xfe]),
    "no object": "[]",
    null: "null",
    "of another machine": JSON.stringify({ ...STATE, name: "n" }),
    "without a version": JSON.stringify({ ...STATE, version: undefined }),
    "with a text for a version": JSON.stringify({ ...STATE, version: "1" }),
    "with half a restart": JSON.stringify({ ...STATE, restarts: 0.5 }),
    "with an unknown next": JSON.stringify({ ...STATE, next: "run" }),
    "without a failure": JSON.stringify({ ...STATE, failure: undefined }),
    "with an odd failure": JSON.stringify({ ...STATE, failure: { reason: "x" } }),
    "with an odd time": JSON.stringify({ ...STATE, failure: { ...STATE.failure, time: 1e300 } }),
    "with an odd console": JSON.stringify({ ...STATE, failure: { ...STATE.failure, console: [1] } }),
    "with a prototype": '{"__proto__":{"version":1,"name":"m","next":null,"restarts":0,"failure":null,"bootId":"b"}}',
    deep: "[".repeat(100_000),
  };

  test.each(Object.keys(DAMAGE))("because it is %s is set aside, whole, and told", (kind) => {
    const path = put("m.json", DAMAGE[kind] ?? "");
    const { states, damages } = readAll();
    expect(states).toEqual([]);
    expect(damages).toEqual([
      { file: path, fault: expect.stringMatching(/^is damaged: /), setAside: expect.any(String) },
    ]);
    expect(readFileSync(damages[0]?.setAside ?? "")).toEqual(Buffer.from(DAMAGE[kind] ?? ""));
    expect(readdirSync(join(run, "state"))).toHaveLength(1);
    expect(readAll()).toEqual({ states: [], damages: [] });
  });

  test("because a newer berth wrote it is left alone, and named", () => {
    const text = JSON.stringify({ version: 2, unheardOf: true });
    const path = put("m.json", text);
    for (let round = 0; round < 2; round++)
      expect(readAll().damages).toEqual([
        { file: path, fault: expect.stringMatching(/^is of version 2/), setAside: null },
      ]);
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("because it is a directory, or a link to nothing, keeps nobody from the others", () => {
    const { version: _, ...state } = STATE;
    files.write(state);
    mkdirSync(join(run, "state/dir.json"));
    symlinkSync("/nonexistent", join(run, "state/link.json"));
    const { states, damages } = readAll();
    expect(states.map(({ name }) => name)).toEqual(["m"]);
    expect(damages).toHaveLength(2);
  });
});

test("what is no state file is not looked at: other names, and what a writer left that was killed", () => {
  for (const name of ["m.json.new", "x.txt", "..json", ".json", "a b.json", "m.json.corrupt-1"]) put(name, "{");
  expect(readAll()).toEqual({ states: [], damages: [] });
});
