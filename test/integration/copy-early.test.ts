/** Copies of trees of which a part is copied while they are weighed. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { CopyPart } from "../../src/image/copy-early.ts";
import { copyTree } from "../../src/image/copy-tree.ts";
import { divideTree } from "../../src/image/divide-tree.ts";
import { berthRoot } from "../lib/berth.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { needs } from "../lib/requires.ts";

needs("root", "tool:getcap");
checkLeaks();

const { signal } = new AbortController();
const DIRECTORIES = 25;
const FILES = { "usr/share": 40, other: 16 };

/** Most of it is /usr/share, which is more than what is copied in one piece. */
function systemTree(at: string): string {
  for (const [parent, files] of Object.entries(FILES))
    for (let index = 1; index <= DIRECTORIES; index++) {
      const directory = join(at, parent, `${index}`);
      mkdirSync(directory, { recursive: true });
      for (let file = 0; file < files; file++) writeFileSync(join(directory, `${file}`), `${index} ${file}`);
    }
  return at;
}

function movedBehindLink(path: string, to: string): void {
  renameSync(path, to);
  symlinkSync(to.replace(/.*\//, path.endsWith("share") ? "../" : ""), path);
}

/** What it is, what becomes of it, and how it comes to be that. */
const CASES: readonly [what: string, becomes: "a part" | "given up" | "not begun", change: (from: string) => void][] = [
  ["large", "a part", () => undefined],
  ["linked in itself", "a part", (from) => linkSync(join(from, "usr/share/1/1"), join(from, "usr/share/x"))],
  ["linked to what is beside it", "given up", (from) => linkSync(join(from, "usr/share/1/1"), join(from, "usr/x"))],
  ["linked to all", "given up", (from) => linkSync(join(from, "other/1/1"), join(from, "usr/share/1/x"))],
  ["with a directory that is shut", "given up", (from) => chmodSync(join(from, "usr/share/3"), 0o555)],
  ["shut itself", "given up", (from) => chmodSync(join(from, "usr/share"), 0o555)],
  ["in a directory that is shut", "a part", (from) => chmodSync(join(from, "usr"), 0o555)],
  ["all there is", "given up", (from) => rmSync(join(from, "other"), { recursive: true })],
  ["of few directories", "not begun", (from) => rmSync(join(from, "usr/share"), { recursive: true })],
  ["a link", "not begun", (from) => movedBehindLink(join(from, "usr/share"), join(from, "shared"))],
  ["behind a link", "not begun", (from) => movedBehindLink(join(from, "usr"), join(from, "users"))],
];

describe("a part that is copied while the tree is weighed", () => {
  test.each(CASES)("%s: %s; the copy is the same", async (_, becomes, change) => {
    await using root = berthRoot();
    const from = systemTree(join(root.path, "from"));
    change(from);
    const to = join(root.directory("divided"), "to");
    const begun: string[] = [];
    const copyEarly: CopyPart = (names, ended) => {
      begun.push(...names.map(String));
      mkdirSync(join(to, "usr/share"));
      writeFileSync(join(to, "usr/share/early"), "");
      return new Promise((_, reject) => ended.addEventListener("abort", () => reject(ended.reason)));
    };
    const onWeighed = () => undefined;
    const division = await divideTree(from, to, { oneFileSystem: false, signal, copyEarly, onWeighed });
    using tree = division?.tree;
    const parts = tree?.parts.flat().map(String) ?? [];
    expect(begun).toEqual(becomes === "not begun" ? [] : ["/to/usr/share"]);
    expect(existsSync(join(to, "usr/share/early"))).toBe(becomes === "a part");
    expect(parts.some((name) => name.startsWith("/to/usr/share"))).toBe(becomes === "given up");
    // All that it has begun ends with who wants it.
    const stopped = AbortSignal.abort(new Error("enough"));
    const runs = division?.runs(() => () => Promise.reject(new Error("enough"))) ?? [];
    expect(runs.length).toBe((tree?.parts.length ?? 0) + (becomes === "a part" ? 1 : 0));
    for (const run of runs) await expect(run(stopped)).rejects.toThrow("enough");

    await copyTree(from, join(root.path, "copy"), signal);
    expect(manifest(join(root.path, "copy"))).toEqual(manifest(from));
  });

  for (const oneFileSystem of [false, true])
    test(`is copied ${oneFileSystem ? "without" : "with"} what is mounted in it, or there`, async () => {
      await using root = berthRoot();
      const from = systemTree(join(root.path, "from"));
      const add = async (at: string) => writeFileSync(join(at, "x"), "");
      mkdirSync(join(from, "usr/share/in"));
      using _inner = await mountFileSystem("tmpfs", join(from, "usr/share/in"), add);
      const copy = async (name: string): Promise<string> => {
        await copyTree(from, join(root.path, name), signal, { oneFileSystem });
        return join(root.path, name, "usr/share");
      };
      const found = oneFileSystem ? [] : ["x"];
      const share = await copy("first");
      expect(readdirSync(join(share, "in/mount"))).toEqual(found);
      expect(readdirSync(share).length).toBe(DIRECTORIES + 1);
      using outer = await mountFileSystem("tmpfs", join(root.path, "outer"), add);
      execFileSync("mount", ["--bind", outer.path, join(from, "usr/share")]);
      try {
        expect(readdirSync(await copy("second"))).toEqual(found);
      } finally {
        execFileSync("umount", [join(from, "usr/share")]);
      }
    });

  test("that does not fit is refused with what to do", async () => {
    await using root = berthRoot();
    const from = systemTree(join(root.path, "from"));
    writeFileSync(join(from, "usr/share/large"), Buffer.alloc(4 << 20, 1));
    using disk = await mountFileSystem("tmpfs", join(root.path, "disk"), async (path) => {
      execFileSync("mount", ["-o", "remount,size=2m", path]);
    });
    rmSync(join(from, "other"), { recursive: true });
    await expect(copyTree(from, join(disk.path, "to"), signal)).rejects.toMatchObject({
      message: expect.stringMatching(/^cannot copy the tree .*from.*: cp failed: cp: .*No space left/),
      hint: expect.stringContaining("make room"),
    });
  });

  test("ends with who is told to stop while it is weighed", async () => {
    await using root = berthRoot();
    const from = systemTree(join(root.path, "from"));
    for (const ms of [1, 10, 20, 40]) {
      const stop = new AbortController();
      setTimeout(() => stop.abort(new Error("enough")), ms);
      await expect(copyTree(from, join(root.path, "to"), stop.signal)).rejects.toThrow("enough");
      rmSync(join(root.path, "to"), { recursive: true, force: true });
    }
  });
});
