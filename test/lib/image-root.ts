/**
 * A berth root whose store is on the host's file system, or on one of its own:
 *
 *   await using store = await imageRoot("btrfs");
 *   await store.done("snapshot", "web");              // its stdout; status 0 and an empty stderr are expected
 *   await store.refused("remove", "web");             // its stderr; status 1 is expected
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { type BerthRoot, berthRoot } from "./berth.ts";
import { type FileSystem, mountFileSystem } from "./file-systems.ts";

export type StoreDriver = "directory" | "btrfs";

export interface ImageRoot extends AsyncDisposable {
  readonly root: BerthRoot;
  readonly driver: StoreDriver;
  readonly machines: string;
  done(...words: readonly string[]): Promise<string>;
  refused(...words: readonly string[]): Promise<string>;
}

/** `type`: of a file system of its own for directories. */
export async function imageRoot(driver: StoreDriver, type?: FileSystem): Promise<ImageRoot> {
  const root = berthRoot();
  const own = driver === "btrfs" ? driver : type;
  const disk = own && (await mountFileSystem(own, join(root.path, "disk"), async () => undefined));
  if (disk !== undefined) execFileSync("mount", ["--bind", disk.path, root.machines]);
  return {
    root,
    driver,
    machines: root.machines,
    async done(...words) {
      const end = await root.berth(...words);
      expect(end).toMatchObject({ status: 0, stderr: "" });
      return end.stdout;
    },
    async refused(...words) {
      const { status, stdout, stderr } = await root.berth(...words);
      expect([status, stdout]).toEqual([1, ""]);
      return stderr;
    },
    async [Symbol.asyncDispose]() {
      try {
        if (root.daemonPid() !== undefined) await root.berth("daemon", "stop", "--machines");
        if (disk === undefined) return;
        execFileSync("umount", [root.machines]);
        disk[Symbol.dispose]();
      } finally {
        await root[Symbol.asyncDispose]();
      }
    },
  };
}

/** Makes a tree in the store the image of its driver: on btrfs a subvolume. */
export async function asImage({ root, driver, done }: ImageRoot, name: string): Promise<void> {
  await done("clone", name, `${name}-copy`, ...(driver === "directory" ? ["--driver=directory"] : []));
  await done("remove", name);
  await done("rename", `${name}-copy`, name);
  expect(root.path).not.toBe("");
}
