import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { machineOf } from "../../../src/host/init.ts";
import { readHostFacts } from "../../../src/host/read-facts.ts";
import { readPathFacts, readTreeFacts } from "../../../src/host/tree-facts.ts";
import { filesOf, unified } from "./samples.ts";
import { EM_386, EM_AARCH64, EM_ARM, EM_X86_64, elf, TestTree } from "./trees.ts";

const host = readHostFacts(filesOf(unified), "x64");

function factsOf(fill: (tree: TestTree) => void) {
  using tree = new TestTree();
  fill(tree);
  return readTreeFacts(tree.root, host);
}

test("a Debian tree", () => {
  const facts = factsOf((tree) => {
    tree.link("lib", "usr/lib");
    tree.link("sbin", "usr/sbin");
    tree.link("usr/sbin/init", "/lib/systemd/systemd");
    tree.file("usr/lib/systemd/systemd", elf(EM_X86_64), 0o755);
    tree.link("etc/os-release", "../usr/lib/os-release");
    tree.file("usr/lib/os-release", 'ID=debian\nPRETTY_NAME="Debian 12"\n');
    tree.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    tree.file("usr/share/zoneinfo/Europe/Berlin", "TZif");
    tree.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC");
  });
  expect(facts).toEqual({
    isHostRoot: false,
    readable: true,
    owner: process.geteuid?.(),
    group: process.getegid?.(),
    fsType: execFileSync("findmnt", ["-no", "FSTYPE", "-T", tmpdir()], { encoding: "utf8" }).trim(),
    readOnly: false,
    init: { path: "/usr/lib/systemd/systemd", kind: "systemd", machine: "x86-64" },
    osRelease: { ID: "debian", PRETTY_NAME: "Debian 12" },
    machineId: "0123456789abcdef0123456789abcdef",
    hasTimezone: true,
    timezone: "Etc/UTC",
  });
});

test("the host's own root, by another path", () => {
  expect(readTreeFacts("/proc/self/root", host)).toMatchObject({ isHostRoot: true });
});

test("an empty tree", () => {
  expect(factsOf(() => {})).toMatchObject({
    readable: true,
    init: null,
    osRelease: null,
    machineId: null,
    hasTimezone: false,
  });
});

describe("a hostile tree", () => {
  test("os-release and machine-id as links to the host", () => {
    const facts = factsOf((tree) => {
      tree.link("etc/os-release", "/usr/lib/os-release");
      writeFileSync(join(tree.outside, "machine-id"), "0123456789abcdef0123456789abcdef\n");
      tree.link("etc/machine-id", `/../../../..${tree.outside}/machine-id`);
      tree.link("usr/share/zoneinfo/Europe", "/usr/share/zoneinfo/Europe");
      tree.link("sbin/init", "/usr/bin/env");
      tree.link("etc/localtime", "/usr/share/zoneinfo/../../../etc/shadow");
    });
    expect(facts).toMatchObject({ osRelease: null, machineId: null, hasTimezone: false, timezone: null, init: null });
  });

  test("fifos and huge files instead of text", () => {
    const facts = factsOf((tree) => {
      tree.fifo("etc/os-release");
      tree.sparse("usr/lib/os-release", 100 * 2 ** 30);
      tree.fifo("etc/machine-id");
      tree.fifo("sbin/init");
    });
    expect(facts).toMatchObject({ osRelease: null, machineId: null, init: null });
  });

  test("an os-release that is no file does not hide the one in /usr/lib", () => {
    const facts = factsOf((tree) => {
      tree.directory("etc/os-release");
      tree.file("usr/lib/os-release", "ID=arch\n");
    });
    expect(facts.osRelease).toEqual({ ID: "arch" });
  });

  test("a huge init is still identified by its head", () => {
    const facts = factsOf((tree) => {
      tree.file("sbin/init", Buffer.concat([elf(EM_AARCH64), Buffer.alloc(2 ** 20)]), 0o755);
    });
    expect(facts.init).toEqual({ path: "/sbin/init", kind: "other", machine: "aarch64" });
  });
});

describe("init", () => {
  test("as systemd-nspawn --boot picks it: the first that can be executed", () => {
    const facts = factsOf((tree) => {
      tree.file("usr/lib/systemd/systemd", elf(EM_X86_64), 0o644);
      tree.file("lib/systemd/systemd", elf(EM_X86_64), 0o755);
      tree.file("sbin/init", elf(EM_X86_64), 0o755);
    });
    expect(facts.init?.path).toBe("/lib/systemd/systemd");
  });

  test("nothing executable, a directory, a dangling link", () => {
    const faultOf = (fill: (tree: TestTree) => void) => {
      const { init, initFault } = factsOf(fill);
      return [init, initFault];
    };
    expect(faultOf(() => {})).toEqual([null, undefined]);
    expect(faultOf((tree) => tree.file("sbin/init", elf(EM_X86_64), 0o644))).toEqual([
      null,
      "/sbin/init is not executable",
    ]);
    expect(faultOf((tree) => tree.directory("sbin/init"))).toEqual([
      null,
      "/sbin/init is no regular file, but a directory",
    ]);
    expect(faultOf((tree) => tree.link("sbin/init", "/nowhere"))).toEqual([
      null,
      "/sbin/init leads to /nowhere, which is not there",
    ]);
  });

  const cases: readonly (readonly [string, (tree: TestTree) => void])[] = [
    [
      "systemd",
      (tree) => {
        tree.file("opt/systemd/systemd", elf(EM_X86_64), 0o755);
        tree.link("sbin/init", "/opt/systemd/systemd");
      },
    ],
    [
      "runit",
      (tree) => {
        tree.file("lib/runit/runit-init", elf(EM_X86_64), 0o755);
        tree.link("sbin/init", "/lib/runit/runit-init");
      },
    ],
    [
      "openrc",
      (tree) => {
        tree.file("sbin/openrc-init", elf(EM_X86_64), 0o755);
        tree.link("sbin/init", "openrc-init");
      },
    ],
    [
      "busybox",
      (tree) => {
        tree.file("bin/busybox", elf(EM_X86_64), 0o755);
        tree.link("sbin/init", "/bin/busybox");
      },
    ],
    [
      "busybox",
      (tree) => {
        tree.file("bin/busybox", elf(EM_X86_64), 0o755);
        tree.hardLink("sbin/init", "bin/busybox");
      },
    ],
    [
      "sysvinit",
      (tree) => {
        const text = Buffer.from("INIT_VERSION=sysvinit-3.06\0");
        tree.file("sbin/init", Buffer.concat([elf(EM_X86_64), Buffer.alloc(40_000), text]), 0o755);
      },
    ],
    ["other", (tree) => tree.file("sbin/init", "#!/bin/sh\nexec sleep inf\n", 0o755)],
  ];
  test.each(cases)("%s", (kind, fill) => {
    expect(factsOf(fill).init).toMatchObject({ path: "/sbin/init", kind });
  });

  test("what is known of one is so of it as it was: another one in its place is read", async () => {
    using tree = new TestTree();
    const kind = (): unknown => readTreeFacts(tree.root, host).init?.kind;
    const init = (text: string): Buffer => Buffer.concat([elf(EM_X86_64), Buffer.alloc(40_000), Buffer.from(text)]);
    tree.file("sbin/init", init("INIT_VERSION=sysvinit"), 0o755);
    expect([kind(), kind()]).toEqual(["sysvinit", "sysvinit"]);
    await sleep(20); // a tick of what older kernels give files for their times
    tree.file("sbin/init", init("INIT_VERSION=somewhat"), 0o755); // as long, the same inode
    expect([kind(), kind()]).toEqual(["other", "other"]);
    tree.file("sbin/next", init("INIT_VERSION=sysvinit"), 0o755);
    renameSync(join(tree.root, "sbin/next"), join(tree.root, "sbin/init"));
    expect(kind()).toBe("sysvinit");
  });

  test("what it is built for", () => {
    expect(machineOf(elf(EM_X86_64))).toBe("x86-64");
    expect(machineOf(elf(EM_AARCH64))).toBe("aarch64");
    expect(machineOf(elf(EM_386, 32))).toBe("i386");
    expect(machineOf(elf(EM_ARM, 32))).toBe("arm");
    expect(machineOf(elf(8))).toBe("unknown");
    // The x32 ABI: 64-bit code in a 32-bit class.
    expect(machineOf(elf(EM_X86_64, 32))).toBe("unknown");
    expect(machineOf(Buffer.from("#!/bin/sh\n"))).toBe("script");
    expect(machineOf(Buffer.from("\x7fELF", "latin1"))).toBe("unknown");
    expect(machineOf(Buffer.alloc(0))).toBe("unknown");
  });
});

test("the owner of a tree that was moved to a range", ({ skip }) => {
  skip(process.geteuid?.() !== 0, "only root may give files away");
  expect(factsOf((tree) => chownSync(tree.root, 524288, 524288)).owner).toBe(524288);
});

test("a tree we may not look into is assumed to be Debian's", () => {
  using tree = new TestTree();
  tree.file("etc/os-release", "ID=arch\n");
  chmodSync(tree.outside, 0o700);
  chmodSync(tree.root, 0o000);
  const module = fileURLToPath(new URL("../../../src/host/tree-facts.ts", import.meta.url));
  // Node first, as the checkout may be where another user can't look either.
  const drop = process.geteuid?.() === 0 ? "process.setegid(65534); process.seteuid(65534);" : "";
  const program = `import { readTreeFacts } from ${JSON.stringify(module)}; ${drop}
    console.log(JSON.stringify(readTreeFacts(${JSON.stringify(tree.root)}, { arch: "arm64", timezone: "Europe/Berlin" })));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  expect(JSON.parse(output)).toMatchObject({
    readable: false,
    owner: 0,
    group: 0,
    init: { path: "/usr/lib/systemd/systemd", kind: "systemd", machine: "aarch64" },
    osRelease: { ID: "debian" },
    machineId: null,
    hasTimezone: true,
  });
});

test("no tree at all is an error that says what to do", () => {
  expect(() => readTreeFacts("/nonexistent/tree", host)).toThrow("/nonexistent/tree: no such tree");
  const near = { message: "/usr/shared: no such tree", hint: "did you mean share?" };
  expect(() => readTreeFacts("/usr/shared", host)).toThrow(expect.objectContaining(near));
  expect(() => readTreeFacts("/etc/passwd", host)).toThrow("/etc/passwd: not a directory");
});

test("bind sources: links are followed, anything that is no directory is a file", () => {
  using tree = new TestTree();
  tree.file("file", "x");
  tree.fifo("fifo");
  symlinkSync(tree.root, join(tree.outside, "link"));
  symlinkSync("loop", join(tree.outside, "loop"));
  expect(readPathFacts(tree.root)).toEqual({ type: "directory" });
  expect(readPathFacts(join(tree.outside, "link"))).toEqual({ type: "directory" });
  expect(readPathFacts(join(tree.root, "file"))).toEqual({ type: "file" });
  expect(readPathFacts(join(tree.root, "fifo"))).toEqual({ type: "file" });
  expect(readPathFacts(join(tree.root, "none"))).toEqual({ type: "missing", errno: "ENOENT" });
  expect(readPathFacts(join(tree.root, "file/x"))).toEqual({ type: "missing", errno: "ENOTDIR" });
  expect(readPathFacts(join(tree.outside, "loop"))).toEqual({ type: "missing", errno: "ELOOP" });
});
