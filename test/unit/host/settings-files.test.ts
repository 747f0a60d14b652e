import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findPaths, type Paths } from "../../../src/host/paths.ts";
import { readSettings } from "../../../src/host/settings-files.ts";
import { showProblem } from "../../../src/spec/problem.ts";

let root: string;
let paths: Paths;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "settings-"));
  paths = findPaths({}, "/nonexistent", root);
  mkdirSync(join(paths.etc, "machines"), { recursive: true });
  mkdirSync(paths.machines);
});
afterEach(() => rmSync(root, { recursive: true }));

function etc(name: string): string {
  return join(paths.etc, "machines", name);
}

function read(name = "m"): { keys: string[]; problems: string[] } {
  const { assignments, problems } = readSettings(name, paths, "/nonexistent");
  return { keys: assignments.map(({ key }) => key), problems: problems.map(showProblem) };
}

test("the first file counts, and all drop-ins", () => {
  writeFileSync(join(paths.machines, "m.nspawn"), "[Exec]\nHostname=trees");
  expect(read()).toEqual({ keys: ["Hostname"], problems: [] });
  writeFileSync(etc("m.nspawn"), "[Exec]\nBoot=yes");
  mkdirSync(etc("m.nspawn.d"));
  writeFileSync(etc("m.nspawn.d/10-a.conf"), "[Exec]\nKillSignal=SIGTERM");
  writeFileSync(etc("m.nspawn.d/README"), "no settings");
  expect(read()).toEqual({ keys: ["Boot", "KillSignal"], problems: [] });
});

describe("what stands in the place of a settings file is not passed over", () => {
  const STANDING: [string, (path: string) => void, string][] = [
    ["a FIFO", (path) => execFileSync("mkfifo", [path]), "not a regular file"],
    ["a directory", (path) => mkdirSync(path), "not a regular file"],
    ["a device", (path) => symlinkSync("/dev/zero", path), "not a regular file"],
    ["a link that leads nowhere", (path) => symlinkSync("nowhere", path), "no such file"],
  ];

  test.each(STANDING)("%s", (_, make, wrong) => {
    // A file of a later place does not stand in for it.
    writeFileSync(join(paths.machines, "m.nspawn"), "[Exec]\nBoot=yes");
    make(etc("m.nspawn"));
    expect(() => read()).toThrow(`${etc("m.nspawn")}: ${wrong}`);
  });

  test.each(STANDING)("%s as a drop-in", (_, make, wrong) => {
    mkdirSync(etc("m.nspawn.d"));
    make(etc("m.nspawn.d/a.conf"));
    expect(() => read()).toThrow(`${etc("m.nspawn.d/a.conf")}: ${wrong}`);
  });

  test("a file instead of the drop-ins' directory", () => {
    writeFileSync(etc("m.nspawn.d"), "");
    expect(() => read()).toThrow(`${etc("m.nspawn.d")}: not a directory`);
  });
});

describe("a file that others may write to", () => {
  const PRIVILEGED = "[Exec]\nEphemeral=yes";

  test("is not trusted, and in the right place the hint is whose it should be", () => {
    writeFileSync(etc("m.nspawn"), PRIVILEGED);
    expect(read()).toEqual({ keys: ["Ephemeral"], problems: [] });
    chmodSync(etc("m.nspawn"), 0o666);
    const hint = `(chown root:root ${etc("m.nspawn")} && chmod go-w ${etc("m.nspawn")} makes it trusted)`;
    expect(read()).toEqual({ keys: [], problems: [expect.stringContaining(hint)] });
  });

  test("beside the trees the hint is where it should be", () => {
    writeFileSync(join(paths.machines, "m.nspawn"), PRIVILEGED);
    expect(read()).toEqual({
      keys: [],
      problems: [expect.stringContaining(`(copied to ${paths.etc}/machines it is trusted)`)],
    });
  });
});

test.each(["../m", "a/../m", "", "a\0b"])("%j is looked for nowhere", (name) => {
  writeFileSync(join(paths.etc, "m.nspawn"), "[Exec]\nBoot=yes");
  expect(() => read(name)).toThrow(/^machine name "/);
});
