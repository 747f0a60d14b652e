/** Trees with what overlayfs takes for its own marks, as containers in a machine leave them: no clone hides any of it. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { findOverlayMark } from "../../src/image/overlay-marks.ts";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { manifest } from "../lib/manifest.ts";
import { needs } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";

const ready = needs("root", "tool:python3", "tool:getcap", "tool:lsattr", "tool:mkfs.ext4");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const AT = "var/lib/docker/overlay2/one/diff/usr/bin";

function mark(tree: string, kind: string): string {
  const place = join(tree, AT);
  mkdirSync(place, { recursive: true });
  if (kind === "device") {
    execFileSync("mknod", [join(place, "gone"), "c", "0", "0"]);
    return `${AT}/gone`;
  }
  const attribute = (path: string, value: string): string => {
    const script = "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())";
    execFileSync("python3", ["-c", script, join(tree, path), `user.overlay.${kind}`, value]);
    return path;
  };
  if (kind === "opaque") return attribute(dirname(AT), "y");
  writeFileSync(join(place, "file"), "");
  return attribute(`${AT}/file`, "/elsewhere");
}

async function onExt4(act: (root: BerthRoot) => Promise<void>): Promise<void> {
  await using root = berthRoot();
  using disk = await mountFileSystem("ext4", join(root.path, "disk"), async () => undefined);
  execFileSync("mount", ["--bind", disk.path, root.machines]);
  try {
    rmSync(join(root.machines, "lost+found"), { recursive: true });
    await act(root);
  } finally {
    execFileSync("umount", [root.machines]);
  }
}

test.each(["device", "opaque", "whiteout", "redirect", "metacopy"])(
  "a %s: the tree is copied, and why is said",
  (kind) =>
    onExt4(async (root) => {
      const tree = join(root.machines, "web");
      richTree(tree);
      const at = mark(tree, kind);
      const before = manifest(tree);
      const why = `overlayfs would hide what containers in it have left: "${at}"`;
      expect((await root.berth("show-image", "web", "-p", "Why", "--value")).stdout).toContain(
        `a clone copies it all, as ${why}\n`,
      );
      expect(await root.berth("clone", "web", "copy")).toEqual({
        ...{ status: 0, signal: null, stdout: "" },
        stderr: `berth: copy has a copy of all files of web, and no layers of it, as ${why}\n`,
      });
      expect(manifest(join(root.machines, "copy"))).toEqual(before);
      expect(manifest(tree)).toEqual(before);
      expect(await root.berth("clone", "web", "no", "--driver=stack")).toMatchObject({
        status: 1,
        stderr: expect.stringContaining(`a clone of web can't be a stack: ${why}\n`),
      });
      expect(existsSync(join(root.machines, "web.mstack"))).toBe(false);
      // Without it nothing is in the way.
      rmSync(join(tree, "var/lib/docker"), { recursive: true });
      expect(await root.berth("clone", "web", "layered", "--driver=stack")).toMatchObject({ status: 0, stderr: "" });
      expect(existsSync(join(root.machines, "web.mstack"))).toBe(true);
    }),
);

test("in a tree that is deeper than a path is long none can be told", () =>
  onExt4(async (root) => {
    const script =
      'import os, sys\nos.makedirs(sys.argv[1])\nos.chdir(sys.argv[1])\nfor _ in range(30):\n  os.mkdir("d" * 200)\n  os.chdir("d" * 200)';
    execFileSync("python3", ["-c", script, join(root.machines, "deep")]);
    await expect(findOverlayMark(join(root.machines, "deep"))).rejects.toMatchObject({ code: "ENAMETOOLONG" });
    const { stderr } = await root.berth("clone", "deep", "copy");
    expect(stderr).toContain("as paths in it are longer than the kernel takes them\n");
    expect(existsSync(join(root.machines, "copy"))).toBe(true);
  }));
