/** Wrong turns that users of images take: each is told where it would have gone right, and leaves nothing. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { stackDriver } from "../../src/image/drivers/stack.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs } from "../lib/requires.ts";
import { OS, tar } from "../lib/tar.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

type Refuse = (words: readonly string[], status: number, message: string, hint: string) => Promise<void>;

/** With an archive, a directory and a file of zeros in it, and an image web. */
async function startingPoint(): Promise<{ readonly root: BerthRoot; readonly refuse: Refuse }> {
  const root = berthRoot();
  writeFileSync(join(root.path, "web.tar"), tar([...OS]));
  writeFileSync(join(root.path, "zeros"), Buffer.alloc(1 << 20));
  mkdirSync(join(root.path, "tree"));
  expect(await root.berth("import-tar", join(root.path, "web.tar"))).toMatchObject({ status: 0, stderr: "" });
  const refuse: Refuse = async (words, status, message, hint) => {
    const end = await root.berth(...words);
    expect([end.status, end.stdout, end.stderr], words.join(" ")).toEqual([
      status,
      "",
      `berth: ${message}\nhint: ${hint}\n`,
    ]);
  };
  return { root, refuse };
}

test("the wrong import for what there is, and a place to export to that is not there", async () => {
  const { root, refuse } = await startingPoint();
  await using _root = root;
  const at = (name: string): string => join(root.path, name);
  await refuse(
    ["import-tar", at("tree"), "x"],
    1,
    `"${at("tree")}" is a directory`,
    "berth import-fs makes an image of one",
  );
  const others = "berth import-tar makes an image of an archive, import-raw of a disk image";
  await refuse(["import-fs", at("web.tar"), "x"], 1, `"${at("web.tar")}" is no directory`, others);
  const none = await root.berth("import-fs", at("none"), "x");
  expect([none.status, none.stderr]).toEqual([1, `berth: there is no directory "${at("none")}"\n`]);
  const disk = "nothing of it is left here; is it a disk image? import-raw and pull-raw take those";
  await refuse(["import-tar", at("zeros"), "x"], 1, "the archive is refused: there is nothing in it", disk);
  await refuse(
    ["export-tar", "web", at("none/x.tar")],
    1,
    `there is no directory "${at("none")}"`,
    `mkdir -p ${at("none")}`,
  );
  const formats = "a name with .gz, .xz, .zst or .bz2, or none of these, or --format";
  await refuse(["export-tar", "web", at("web.zip")], 2, "berth writes no zip", formats);
  expect((await root.berth("export-tar", "web", at("web.zip"), "--format=none")).status).toBe(0);
  expect(readdirSync(root.machines).filter((name) => !name.startsWith("."))).toEqual(["web"]);
  const raw = await root.berth("import-raw", at("web.tar"), "odd");
  expect(raw).toMatchObject({
    status: 0,
    stderr: "no machine can run from it: it is a tar archive, which import-tar and pull-tar take\n",
  });
});

test("NAME@SNAPSHOT is understood wherever a snapshot is meant", async () => {
  const { root, refuse } = await startingPoint();
  await using _root = root;
  const done = async (...words: readonly string[]): Promise<string> => {
    const end = await root.berth(...words);
    expect(end).toMatchObject({ status: 0, stderr: "" });
    return end.stdout;
  };
  await done("snapshot", "web");
  await done("snapshot", "web", "later");
  await done("rename", "web@snap0", "web@good");
  await refuse(
    ["rename", "web@good", "other@good"],
    2,
    'a snapshot of "web" can\'t become one of "other"',
    "berth clone web@good NEW makes an image of it",
  );
  const [image = ""] = readdirSync(root.machines).filter((name) => /^web/.test(name));
  writeFileSync(join(root.machines, image, image === "web" ? "new" : "rw/data/new"), "");
  expect(await done("diff", "web@good")).toContain("A /new\n");
  expect(await done("diff", "web"), "since the newest").toContain("A /new\n");
  expect(await done("diff", "web@good", "later")).toBe("");
  expect(await done("diff", "web@good", "later")).toBe(await done("diff", "web", "good", "later"));
  expect((await root.berth("diff", "web@good", "later", "more")).status).toBe(2);
  expect((await root.berth("rollback", "web@good", "later")).status).toBe(2);
  expect(await done("rollback", "web@good")).toContain("berth rollback --undo web goes back");
  expect(await done("diff", "web@good")).toBe("");
});

test("why an image is a stack is true of the file system that it is on", () => {
  expect(stackDriver.why("ext4")).toBe("a stack of layers on ext4, which shares no blocks: a clone shares the layers");
  expect(stackDriver.why("xfs")).toBe("a stack of layers on xfs: a clone shares the layers");
});
