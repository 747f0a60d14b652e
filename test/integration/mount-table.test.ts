/** The table of mounts is read again when mounts have come or gone, and then only. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { InRoot } from "../../src/host/in-root.ts";
import { keptMountinfo } from "../../src/host/mount-table.ts";
import { type Mount, parseMountinfo } from "../../src/host/mountinfo.ts";
import { bind, pinned } from "../../src/sys/libc.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

needs("root");
checkLeaks();

test("what is mounted and unmounted shows at once; between that the same text is given", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-mounts-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const [one, other] = [join(directory, "one"), join(directory, "other")];
  for (const path of [one, other]) mkdirSync(path);
  const at = (path: string): Mount | undefined => parseMountinfo(keptMountinfo()).find(({ point }) => point === path);
  expect(at(one)).toBeUndefined();
  mount("-t", "tmpfs", "tmpfs", one);
  expect(at(one)).toMatchObject({ fsType: "tmpfs", point: one });
  mount("--bind", one, other);
  expect(at(other)).toMatchObject({ fsType: "tmpfs", point: other });
  expect(keptMountinfo()).toBe(keptMountinfo());
  for (const path of [one, other]) execFileSync("umount", [path]);
  expect([at(one), at(other)]).toEqual([undefined, undefined]);
});

test("what could not be read for want of an fd is read the next time", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-mounts-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  keptMountinfo();
  mount("-t", "tmpfs", "tmpfs", directory);
  try {
    withoutFds(() => expect(() => keptMountinfo()).toThrow("EMFILE"));
    expect(parseMountinfo(keptMountinfo()).map(({ point }) => point)).toContain(directory);
  } finally {
    execFileSync("umount", [directory]);
  }
});

test("a tree is read-only when its mount is, and when its file system has become so", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-mounts-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const isReadOnly = (): boolean => {
    const tree = new InRoot(directory);
    try {
      return tree.isReadOnly();
    } finally {
      tree.close();
    }
  };
  mount("-t", "tmpfs", "tmpfs", directory);
  try {
    const seen = [isReadOnly()];
    for (const options of ["remount,bind,ro", "remount,bind,rw", "remount,ro"]) {
      mount("-o", options, directory);
      seen.push(isReadOnly());
    }
    expect(seen).toEqual([false, true, false, true]);
  } finally {
    execFileSync("umount", [directory]);
  }
});

const getrlimit = bind("int getrlimit(int resource, void *limits)");
const setrlimit = bind("int setrlimit(int resource, void *limits)");
const RLIMIT_NOFILE = 7;

/** While this process can open nothing more. */
function withoutFds(act: () => void): void {
  const [before, none] = [pinned(16), pinned(16)];
  getrlimit(RLIMIT_NOFILE, before);
  before.copy(none, 8, 8);
  none.writeUInt32LE(1); // poll(2) takes no more fds than may be open
  expect(setrlimit(RLIMIT_NOFILE, none)).toBe(0);
  try {
    act();
  } finally {
    setrlimit(RLIMIT_NOFILE, before);
  }
}

function mount(...args: readonly string[]): void {
  execFileSync("mount", args);
}
