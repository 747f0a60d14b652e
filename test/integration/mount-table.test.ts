/** The table of mounts is read again when mounts have changed, and then only. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readMountinfo, readMounts } from "../../src/host/mount-table.ts";
import { isReadOnly, type Mount } from "../../src/host/mountinfo.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

needs("root");
checkLeaks();

test("what is mounted, made read-only and unmounted shows at once; between that the same text is given", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-mounts-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const [one, other] = [join(directory, "one"), join(directory, "other")];
  for (const path of [one, other]) mkdirSync(path);
  const at = (path: string): Mount | undefined => readMounts().find(({ point }) => point === path);
  expect(at(one)).toBeUndefined();
  mount("-t", "tmpfs", "tmpfs", one);
  expect(at(one)).toMatchObject({ fsType: "tmpfs", point: one });
  mount("--bind", one, other);
  expect(at(other)).toMatchObject({ fsType: "tmpfs", point: other });
  mount("-o", "remount,bind,ro", other);
  expect([one, other].map((path) => isReadOnly(at(path) as Mount))).toEqual([false, true]);
  expect(readMountinfo()).toBe(readMountinfo());
  for (const path of [one, other]) execFileSync("umount", [path]);
  expect([at(one), at(other)]).toEqual([undefined, undefined]);
});

function mount(...args: readonly string[]): void {
  execFileSync("mount", args);
}
