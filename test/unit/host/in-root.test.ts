import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { InRoot } from "../../../src/host/in-root.ts";
import { TestTree } from "./trees.ts";

function withTree(fill: (tree: TestTree) => void, check: (inside: InRoot, tree: TestTree) => void): void {
  using tree = new TestTree();
  fill(tree);
  const inside = new InRoot(tree.root);
  try {
    check(inside, tree);
  } finally {
    inside.close();
  }
}

const text = (inside: InRoot, path: string) => inside.readFile(path, 1024)?.toString() ?? null;

describe("links stay inside", () => {
  test("an absolute link to a host file is looked up in the tree", () => {
    withTree(
      (tree) => tree.link("etc/os-release", "/etc/hostname"),
      (inside) => expect(text(inside, "/etc/os-release")).toBeNull(),
    );
    withTree(
      (tree) => {
        tree.link("etc/os-release", "/etc/hostname");
        tree.file("etc/hostname", "inside");
      },
      (inside) => expect(text(inside, "/etc/os-release")).toBe("inside"),
    );
  });

  test(".. stops at the root, in links and in the path itself", () => {
    withTree(
      (tree) => {
        tree.link("etc/secret", "../../../../../../secret");
        tree.link("etc/deep", "a/../../../../..//./secret");
        tree.directory("etc/a");
        tree.link("up", "..");
      },
      (inside, tree) => {
        expect(statSync(join(tree.root, "up/secret")).isFile()).toBe(true);
        for (const path of [
          "/etc/secret",
          "/etc/deep",
          "/../secret",
          "../../secret",
          "/up/secret",
          "/etc/../../secret",
        ]) {
          expect(text(inside, path)).toBeNull();
        }
        expect(inside.resolve("/up")?.path).toBe("/");
        expect(inside.resolve("../..")?.path).toBe("/");
      },
    );
  });

  test("a linked directory: /etc to the host's /etc, and to another one of the tree", () => {
    withTree(
      (tree) => tree.link("etc", "/etc"),
      (inside) => expect(inside.resolve("/etc/hostname")).toBeNull(),
    );
    withTree(
      (tree) => {
        tree.link("etc", tree.outside);
        tree.file(`${tree.outside}/secret`, "copy in the tree");
      },
      (inside) => expect(text(inside, "/etc/secret")).toBe("copy in the tree"),
    );
    withTree(
      (tree) => {
        tree.link("etc", "data/etc");
        tree.file("data/etc/name", "inside");
      },
      (inside) => expect(inside.resolve("/etc/name")).toMatchObject({ path: "/data/etc/name", type: "file" }),
    );
  });

  test("magic links of a mounted procfs are not followed", () => {
    withTree(
      (tree) => tree.link("etc/os-release", `/proc/${process.pid}/root/etc/hostname`),
      (inside) => expect(text(inside, "/etc/os-release")).toBeNull(),
    );
    const host = new InRoot("/");
    try {
      expect(host.lstat("/proc/self/root")?.type).toBe("symlink");
      expect(host.resolve("/proc/self/root/etc")).toBeNull();
    } finally {
      host.close();
    }
  });

  test("a component swapped between directory and link while we walk never leads outside", async () => {
    using tree = new TestTree();
    tree.file("a/secret", "inside");
    tree.link("b", tree.outside);
    // Renames in a circle: `x` is a directory, a link to the outside, or absent.
    const program = `const fs = require("node:fs"); process.chdir(${JSON.stringify(tree.root)}); console.log("on");
      for (const end = Date.now() + 400; Date.now() < end; ) {
        fs.renameSync("a", "x"); fs.renameSync("x", "a"); fs.renameSync("b", "x"); fs.renameSync("x", "b");
      }`;
    const swapper = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    await once(swapper.stdout, "data");
    const seen = new Set<string | null>();
    const inside = new InRoot(tree.root);
    const end = Date.now() + 300;
    while (Date.now() < end) seen.add(text(inside, "/x/secret"));
    inside.close();
    if (swapper.exitCode === null) await once(swapper, "exit");
    expect(swapper.exitCode).toBe(0);
    expect([...seen].filter((content) => content !== null && content !== "inside")).toEqual([]);
  });
});

describe("what never hangs or fills memory", () => {
  test("loops and long chains", () => {
    withTree(
      (tree) => {
        tree.link("self", "self");
        tree.link("a", "b");
        tree.link("b", "a/b");
        tree.link("chain0", "end");
        for (let i = 1; i <= 45; i++) tree.link(`chain${i}`, `chain${i - 1}`);
        tree.file("end", "end");
      },
      (inside) => {
        expect(inside.resolve("/self")).toBeNull();
        expect(inside.resolve("/a")).toBeNull();
        expect(text(inside, "/chain39")).toBe("end");
        expect(inside.resolve("/chain40")).toBeNull();
        expect(inside.resolve("/chain45")).toBeNull();
      },
    );
  });

  test("links that multiply their components", () => {
    withTree(
      (tree) => {
        tree.directory("d");
        for (let i = 0; i < 30; i++) tree.link(`l${i}`, `${`l${i + 1}/../`.repeat(50)}d`);
        tree.link("l30", "d");
      },
      (inside) => expect(inside.resolve("/l0")).toBeNull(),
    );
  });

  test("paths up to PATH_MAX, and what no path of that length leads to", () => {
    withTree(
      (tree) => {
        const name = "d".repeat(200);
        tree.directory(`${name}/`.repeat(15));
        tree.directory("up");
        tree.link("long", `${name}/`.repeat(15));
      },
      (inside) => {
        expect(inside.resolve("long")?.type).toBe("directory");
        expect(inside.resolve("up/../".repeat(600))?.path).toBe("/");
        expect(inside.resolve("up/../".repeat(700))).toBeNull();
      },
    );
    using tree = new TestTree();
    const deep = Array.from({ length: 25 }, () => "d".repeat(200));
    const program = `for (const name of ${JSON.stringify(deep)}) { fs.mkdirSync(name); process.chdir(name); }`;
    execFileSync(process.execPath, ["-e", program], { cwd: tree.root });
    for (const [i, at] of [0, 12].entries()) {
      const from = deep.slice(0, at).join("/");
      symlinkSync(deep.slice(at, at + 12).join("/"), join(tree.root, from, `down${i}`));
    }
    const inside = new InRoot(tree.root);
    // Two links of 2400 bytes lead to a directory whose own path is longer than any call may name.
    expect(inside.resolve("down0")?.type).toBe("directory");
    expect(inside.resolve("down0/down1")).toBeNull();
    inside.close();
  });

  test("a fifo is not opened", () => {
    withTree(
      (tree) => tree.fifo("etc/os-release"),
      (inside) => {
        expect(text(inside, "/etc/os-release")).toBeNull();
        expect(inside.resolve("/etc/os-release")?.type).toBe("other");
      },
    );
  });

  test("a directory and a device are no files", () => {
    withTree(
      (tree) => tree.directory("etc/os-release"),
      (inside) => expect(text(inside, "/etc/os-release")).toBeNull(),
    );
    const host = new InRoot("/");
    expect(host.readFile("/dev/zero", 10)).toBeNull();
    host.close();
  });

  test("a file over the limit is refused, its head can be read", () => {
    withTree(
      (tree) => {
        tree.sparse("huge", 100 * 2 ** 30);
        tree.file("ten", "0123456789");
      },
      (inside) => {
        expect(inside.readFile("/huge", 65536)).toBeNull();
        expect(inside.resolve("/huge")?.size).toBe(100 * 2 ** 30);
        expect(inside.readHead("/huge", 16)).toHaveLength(16);
        expect(inside.readFile("/ten", 9)).toBeNull();
        expect(inside.readFile("/ten", 10)?.toString()).toBe("0123456789");
        expect(inside.readHead("/ten", 100)?.toString()).toBe("0123456789");
      },
    );
  });
});

describe("answers", () => {
  test("of a /usr-merged tree", () => {
    withTree(
      (tree) => {
        tree.link("sbin", "usr/sbin");
        tree.link("lib", "/usr/lib");
        tree.link("usr/sbin/init", "/lib/systemd/systemd");
        tree.file("usr/lib/systemd/systemd", "x", 0o755);
      },
      (inside) => {
        expect(inside.resolve("/sbin/init")).toMatchObject({
          path: "/usr/lib/systemd/systemd",
          type: "file",
          mode: 0o755,
        });
        expect(inside.lstat("/sbin/init")).toMatchObject({ path: "/usr/sbin/init", type: "symlink" });
        expect(inside.lstat("/sbin")).toMatchObject({ path: "/sbin", type: "symlink" });
      },
    );
  });

  test("missing, below a file, too long a name", () => {
    withTree(
      (tree) => tree.file("file", "x"),
      (inside) => {
        expect(inside.resolve("/nothing")).toBeNull();
        expect(inside.resolve("/nothing/../file")).toBeNull();
        expect(inside.resolve("/file/x")).toBeNull();
        expect(inside.resolve("/file/..")).toBeNull();
        expect(inside.resolve(`/${"n".repeat(300)}`)).toBeNull();
      },
    );
  });

  test("hard links have one identity, the mount is found by id", () => {
    withTree(
      (tree) => {
        tree.file("a", "x");
        tree.hardLink("b", "a");
        tree.file("c", "x");
      },
      (inside) => {
        expect(inside.resolve("/a")?.identity).toBe(inside.resolve("/b")?.identity);
        expect(inside.resolve("/a")?.identity).not.toBe(inside.resolve("/c")?.identity);
        expect(inside.mountId()).toBeTypeOf("number");
      },
    );
  });

  test("no descriptor is left, whatever the answer", () => {
    const count = () => readdirSync("/proc/self/fd").length;
    const before = count();
    withTree(
      (tree) => {
        tree.file("a/b/c/file", "x");
        tree.link("loop", "a/../loop");
        tree.link("out", "/a/b/../../../..");
        tree.fifo("fifo");
      },
      (inside) => {
        for (let i = 0; i < 20; i++) {
          for (const path of ["a/b/c/file", "a/b/c/file/x", "a/x", "loop", "out", "fifo", "a/b"]) {
            inside.resolve(path);
            inside.lstat(path);
            inside.readFile(path, 10);
          }
        }
      },
    );
    expect(count()).toBe(before);
  });

  test("no such root is an error of the caller", () => {
    expect(() => new InRoot("/nonexistent/root")).toThrow("ENOENT");
    expect(() => new InRoot("/etc/passwd")).toThrow("ENOTDIR");
  });
});
