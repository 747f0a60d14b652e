import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { findPaths } from "../../../src/host/paths.ts";
import { type ApplyState, readApply, writeApply } from "../../../src/machine/apply-file.ts";
import { recordsDirectory } from "../../../src/machine/places.ts";

const root = mkdtempSync(join(tmpdir(), "apply-"));
afterAll(() => rmSync(root, { recursive: true }));
const paths = findPaths({ BERTH_RUN: join(root, "run") }, root, root);
const directory = join(recordsDirectory(paths), "m");
const file = join(directory, "apply.json");

const STATE: ApplyState = {
  version: 2,
  boot: "7",
  binds: [{ source: "/a", target: "/b", readOnly: true, owners: "idmap" }],
  pending: {
    deadline: 5,
    bound: [],
    unbound: [],
    policy: null,
    requests: { poweroff: { signal: 1 }, reboot: { signal: 2 } },
  },
};
const NOTHING: ApplyState = { version: 2, boot: "7", binds: [], pending: null };

test("what is written is read again, by that boot alone; nothing leaves no file", () => {
  mkdirSync(directory, { recursive: true });
  writeApply("m", STATE, paths);
  expect(readApply("m", "7", paths)).toEqual(STATE);
  expect(readApply("m", "8", paths)).toEqual({ ...NOTHING, boot: "8" });
  writeApply("m", NOTHING, paths);
  expect(existsSync(file)).toBe(false);
  expect(readApply("m", "7", paths)).toEqual(NOTHING);
});

test.each(["", "null", "[]", '{"version":1,"boot":"7","binds":[]}', '{"version":2,"boot":"7"}'])(
  "%j says nothing",
  (text) => {
    writeFileSync(file, text);
    expect(readApply("m", "7", paths)).toEqual(NOTHING);
  },
);

test("of a machine that has just ended nothing is written", () => {
  rmSync(directory, { recursive: true });
  writeApply("m", STATE, paths);
  expect(existsSync(directory)).toBe(false);
});
