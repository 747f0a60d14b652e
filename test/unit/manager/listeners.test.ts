import { closeSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lockFile } from "../../../src/exec/lock-file.ts";
import { findPaths } from "../../../src/host/paths.ts";
import { recordsDirectory } from "../../../src/machine/places.ts";
import { Manager } from "../../../src/manager/manager.ts";

test("an error of one who listens is logged, and everybody else hears", async () => {
  const root = mkdtempSync(join(tmpdir(), "manager-"));
  const paths = findPaths({ BERTH_RUN: join(root, "run") }, root, root);
  // Of somebody's machine, by its lock: nothing more can be told of it.
  for (const directory of [join(paths.run, "locks"), join(recordsDirectory(paths), "m")])
    mkdirSync(directory, { recursive: true });
  const lock = lockFile(join(paths.run, "locks/m"));
  writeFileSync(join(recordsDirectory(paths), "m/record.json"), "no JSON");
  const lines: string[] = [];
  const manager = new Manager({ paths, bootId: "x", log: (_, machine, line) => lines.push(`${machine}: ${line}`) });
  const heard: string[] = [];
  try {
    manager.on("machine", () => {
      throw new Error("a bug");
    });
    manager.on("machine", ({ type, machine }) => heard.push(`${type} ${machine}`));
    await manager.open();
    expect(heard).toEqual(["new m"]);
    expect(lines).toContain("m: not everybody could be told of it: Error: a bug");
  } finally {
    await manager.close();
    if (lock !== null) closeSync(lock);
    rmSync(root, { recursive: true });
  }
});
