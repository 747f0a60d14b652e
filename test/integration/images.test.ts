/** berth's verbs of images, as a user runs them. */
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

/** A tree that is one by its os-release, with a megabyte in it. */
function makeTree(root: BerthRoot, name: string): string {
  const tree = join(root.machines, name);
  mkdirSync(join(tree, "etc"), { recursive: true });
  writeFileSync(join(tree, "etc/os-release"), 'ID=test\nPRETTY_NAME="Test \\u001b[31mOS"\n');
  writeFileSync(join(tree, "data"), Buffer.alloc(1 << 20, 1));
  return tree;
}

async function json(root: BerthRoot, ...words: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await root.berth(...words, "--json");
  expect([status, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

test("list-images shows what is there, and what it takes on the disk", async () => {
  await using root = berthRoot();
  const none = await root.berth("list-images");
  expect(none).toMatchObject({ status: 0, stdout: "", stderr: "no images\n" });

  const path = makeTree(root, "web");
  makeTree(root, ".tar-hidden");
  writeFileSync(join(root.machines, "disk.raw"), "");
  truncateSync(join(root.machines, "disk.raw"), 1 << 30);
  const listed = await root.berth("list-images");
  expect(listed.stdout).toMatch(
    /^NAME +TYPE +RO +USAGE +CREATED +MODIFIED\ndisk +raw +no +0B .*\nweb +directory +no +1\.0M /,
  );
  expect(listed.stdout).not.toContain("hidden");
  expect((await root.berth("images", "--all")).stdout).toMatch(/^\.host .*\n\.tar-hidden .*\ndisk .*\nweb /m);

  const [disk, web] = (await json(root, "list-images")) as Record<string, unknown>[];
  expect(disk).toMatchObject({ name: "disk", type: "raw", limit: 1 << 30 });
  expect(web).toMatchObject({ name: "web", type: "directory", readOnly: false, path, parent: null, modified: null });
  expect(web?.["usage"]).toBeGreaterThanOrEqual(1 << 20);
  expect(Date.parse(String(web?.["created"]))).toBeGreaterThan(Date.now() - 60_000);
});

test("image-status and show-image tell of one image, and name the one that is missing", async () => {
  await using root = berthRoot();
  const path = makeTree(root, "web");
  const status = await root.berth("image-status", "web");
  expect(status.stdout).toMatch(/^web\n {2}Type +directory, a directory on \w+/);
  expect(status.stdout, "its escapes are shown, not obeyed").not.toContain("\u001b");
  expect(await json(root, "image-status", "web")).toMatchObject([{ name: "web", hostname: null, machineId: null }]);

  const shown = await root.berth("show-image", "web");
  expect(shown.stdout).toMatch(
    new RegExp(`^Name=web\nPath=${path}\nType=directory\nReadOnly=no\nCreationTimestamp=\\d{16}\n`),
  );
  expect((await root.berth("show-image", "web", "-p", "Path", "--value")).stdout).toBe(`${path}\n`);
  expect((await root.berth("show-image")).stdout).toMatch(/^PoolPath=.*\nPoolUsage=\d{7}\n$/);
  expect(await json(root, "show-image", "web")).toMatchObject({ name: "web", driver: "directory" });

  const missing = await root.berth("image-status", "wev");
  expect(missing).toMatchObject({ status: 1, stdout: "" });
  expect(missing.stderr).toBe('berth: no image "wev"\nhint: did you mean web?\n');
  expect((await root.berth("image-status", "../web")).status).toBe(2);
  expect(await root.berth("image-status", "wev", "web")).toMatchObject({
    status: 1,
    stdout: expect.stringContaining("web"),
  });
});
