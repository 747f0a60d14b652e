import { closeSync, openSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createWorkspace, prepareStore, publish } from "../../../src/image/workspace.ts";
import { tryLock } from "../../../src/sys/files.ts";

let store: string;
beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), "workspace-"));
});
afterEach(() => rm(store, { recursive: true, force: true }));

const mode = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8);

test("a workspace is hidden, private, and gone at the end of its block, with all in it", async () => {
  {
    await using workspace = await createWorkspace(store, "web");
    expect(await readdir(store)).toEqual([expect.stringMatching(/^\.berth-making-web-[0-9a-f]{12}$/)]);
    expect(await mode(workspace.path)).toBe("700");
    await mkdir(join(workspace.path, "tree/etc"), { recursive: true });
    await writeFile(join(workspace.path, "tree/etc/passwd"), "x", { mode: 0 });
  }
  expect(await readdir(store)).toEqual([]);
});

test("what a killed bootstrap left is swept, what a living one works in is not, nor is anything else", async () => {
  const names = [".berth-making-dead-000000000000", ".berth-making-alive-000000000000", ".other", "web"];
  for (const name of names) await mkdir(join(store, name, "tree"), { recursive: true });
  const [, alive = ""] = names;
  const lock = openSync(join(store, alive), "r");
  expect(tryLock(lock, alive)).toBe(true);
  {
    await using workspace = await createWorkspace(store, "new");
    expect(workspace.path).toContain("-new-");
  }
  expect((await readdir(store)).sort()).toEqual([alive, ".other", "web"].sort());
  closeSync(lock);
});

test("publishing moves a directory to its name, and never over something, even an empty directory", async () => {
  const finished = join(store, "finished");
  await mkdir(join(finished, "etc"), { recursive: true });
  await mkdir(join(store, "taken"));
  await expect(publish(finished, join(store, "taken"))).rejects.toThrow(`${store}/taken exists already`);
  expect((await readdir(store)).sort()).toEqual(["finished", "taken"]);
  await publish(finished, join(store, "web"));
  expect(await readdir(join(store, "web"))).toEqual(["etc"]);
  expect((await readdir(store)).sort()).toEqual(["taken", "web"]);
});

test("a store lets nobody but its owner in, whether it is new or was open", async () => {
  const fresh = join(store, "a/machines");
  await prepareStore(fresh);
  expect(await mode(fresh)).toBe("700");
  expect(await mode(join(store, "a")), "what is above it is as usual").not.toBe("700");
  await chmod(fresh, 0o755);
  await prepareStore(fresh);
  expect(await mode(fresh)).toBe("700");
});

test("a directory shared by all users is no store", async () => {
  const shared = join(store, "shared");
  await mkdir(shared);
  await chmod(shared, 0o1777);
  await expect(prepareStore(shared)).rejects.toThrow("is shared with other users");
  expect(await mode(shared)).toBe("1777");
});
