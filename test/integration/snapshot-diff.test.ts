/** `berth diff`: every kind of change, hostile names, packages; and nothing of the host is ever read. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { buildBerth } from "../lib/berth.ts";
import { toolsOf } from "../lib/file-systems.ts";
import { asImage, type ImageRoot, imageRoot } from "../lib/image-root.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";
import { richTree } from "../lib/rich-tree.ts";
import { debianTree } from "../lib/trees.ts";

const ready = needs(
  ...(["root", "userns", "cgroup2", "tool:python3", "tool:btrfs", "tool:mmdebstrap"] as const),
  ...toolsOf("btrfs"),
);
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

interface Told {
  readonly files: readonly { readonly path: string; readonly change: string; readonly type: string }[];
  readonly packages: readonly object[];
  readonly problems: readonly string[];
}

async function diff({ done }: ImageRoot, ...words: readonly string[]): Promise<Told> {
  return JSON.parse(await done("diff", ...words, "--json"));
}

function python(tree: string, script: string): void {
  execFileSync("python3", ["-c", script, tree]);
}

describe.each(["directory", "btrfs"] as const)("%s", (driver) => {
  test("nothing has changed; then everything that can, each once and in the order of paths", async () => {
    await using store = await imageRoot(driver);
    const { machines, done, root } = store;
    const tree = richTree(join(machines, "web"));
    const files = ["content", "size", "mode", "owner", "same", "silent", "type", "gone", "attribute"];
    for (const name of files) writeFileSync(join(tree, "etc", name), "old text");
    symlinkSync("one", join(tree, "etc/target"));
    mkdirSync(join(tree, "etc/tree/deep"), { recursive: true });
    await asImage(store, "web");
    await done("snapshot", "web");
    const [web, etc] = [join(machines, "web"), join(machines, "web/etc")];
    expect(await diff(store, "web", "snap0")).toMatchObject({ files: [], packages: [], problems: [] });
    expect((await root.berth("diff", "web", "snap0", "--exit-code")).status).toBe(0);

    writeFileSync(join(etc, "content"), "new text");
    writeFileSync(join(etc, "size"), "longer than before");
    chmodSync(join(etc, "mode"), 0o4711);
    chownSync(join(etc, "owner"), 1000, 50);
    utimesSync(join(etc, "same"), 1, 1);
    rmSync(join(etc, "type"));
    mkdirSync(join(etc, "type"));
    writeFileSync(join(etc, "type/inside"), "");
    rmSync(join(etc, "gone"));
    rmSync(join(etc, "target"));
    symlinkSync("/etc/shadow", join(etc, "target"));
    rmSync(join(etc, "tree"), { recursive: true });
    python(
      web,
      "import os,sys; os.setxattr(sys.argv[1]+'/etc/attribute','user.x',b'1'); os.mkfifo(sys.argv[1]+'/etc/pipe'); os.mknod(sys.argv[1]+'/etc/null',0o20666,os.makedev(1,3))",
    );
    const found = await diff(store, "web", "snap0", ".");
    expect(found.files).toEqual([
      {
        path: "/etc/attribute",
        change: "changed",
        type: "file",
        what: [{ aspect: "attributes", from: "user.x", to: "user.x" }],
      },
      { path: "/etc/content", change: "changed", type: "file", what: [{ aspect: "content", from: null, to: null }] },
      { path: "/etc/gone", change: "removed", type: "file", what: [] },
      { path: "/etc/mode", change: "changed", type: "file", what: [{ aspect: "mode", from: "0644", to: "4711" }] },
      { path: "/etc/null", change: "added", type: "character", what: [] },
      { path: "/etc/owner", change: "changed", type: "file", what: [{ aspect: "owner", from: "0:0", to: "1000:50" }] },
      { path: "/etc/pipe", change: "added", type: "fifo", what: [] },
      { path: "/etc/size", change: "changed", type: "file", what: [{ aspect: "size", from: "8", to: "18" }] },
      {
        path: "/etc/target",
        change: "changed",
        type: "symlink",
        what: [{ aspect: "target", from: "one", to: "/etc/shadow" }],
      },
      { path: "/etc/tree", change: "removed", type: "directory", what: [] },
      { path: "/etc/tree/deep", change: "removed", type: "directory", what: [] },
      {
        path: "/etc/type",
        change: "changed",
        type: "directory",
        what: [{ aspect: "type", from: "file", to: "directory" }],
      },
      { path: "/etc/type/inside", change: "added", type: "file", what: [] },
    ]);
    const { status, stdout } = await root.berth("diff", "web", "snap0", "--exit-code");
    expect([status, stdout.split("\n")]).toEqual([
      1,
      expect.arrayContaining(["D /etc/gone", "M /etc/mode  mode 0644 -> 4711", "D /etc/tree/", "A /etc/type/inside"]),
    ]);
    await done("snapshot", "web");
    expect(await diff(store, "web", "snap0", "snap1")).toEqual({ ...found, to: "snap1" });
    expect((await diff(store, "web", "snap1", "snap0")).files.length).toBe(found.files.length);
    expect(await diff(store, "web", "snap1")).toMatchObject({ files: [] });
    expect((await root.berth("diff", "web", "nix")).status).toBe(2);
    // Whoever sets its time back.
    const kept =
      "import os,sys; p=sys.argv[1]+'/etc/silent'; t=os.stat(p).st_mtime_ns; f=open(p,'r+'); f.write('NEW'); f.close(); os.utime(p, ns=(t,t))";
    python(web, kept);
    const silent = { path: "/etc/silent", change: "changed", type: "file" };
    expect((await diff(store, "web", "snap1")).files).toMatchObject([{ ...silent, what: [{ aspect: "content" }] }]);
  });

  test("names of any bytes, links to the host, deep directories: told safely, and nothing is followed", async () => {
    await using store = await imageRoot(driver);
    const { machines, done, root } = store;
    mkdirSync(join(machines, "web/etc"), { recursive: true });
    await asImage(store, "web");
    await done("snapshot", "web");
    const web = join(machines, "web");
    writeFileSync(join(root.path, "secret"), "of the host");
    symlinkSync(root.path, join(web, "host"));
    lutimesSync(join(web, "host"), 1, 1);
    python(
      web,
      "import os,sys\nt=os.fsencode(sys.argv[1])\n" +
        "for n in (b'a\\xff\\xfe', b'new\\nline', b'\\x1b[31mred', b'-rf', '\\u202egpj'.encode()): open(t+b'/etc/'+n,'w').close()\n" +
        "os.chdir(t)\nfor i in range(600):\n os.mkdir('d'*200)\n os.chdir('d'*200)\n",
    );
    const { stdout, stderr, status } = await root.berth("diff", "web", "snap0");
    expect([status, stderr]).toEqual([0, ""]);
    expect(/[^\n -~]/.test(stdout)).toBe(false);
    const lines = stdout.split("\n");
    for (const line of [
      "A /etc/-rf",
      "A /etc/\\u{1b}[31mred",
      "A /etc/a\\xff\\xfe",
      "A /etc/new\\u{a}line",
      "A /etc/\\u{202e}gpj",
      "A /host",
    ])
      expect(lines).toContain(line);
    expect(lines.filter((line) => line.startsWith("A /ddd")).length).toBe(600);
    expect(stdout).not.toContain("secret");
  });
});

test("packages of dpkg: a real Debian tree, of which some were added, removed and upgraded", async () => {
  await using store = await imageRoot("directory");
  const { machines, done } = store;
  execFileSync("cp", ["-a", await debianTree("bookworm"), join(machines, "web")]);
  await done("snapshot", "web");
  const status = join(machines, "web/var/lib/dpkg/status");
  const text = readFileSync(status, "utf8");
  const version = /^Package: bash\n(?:.+\n)*?Version: (.*)\n/m.exec(text)?.[1];
  const changed = text
    .replace(/^(Package: bash\n(?:.+\n)*?Version: ).*\n/m, "$199.1\n")
    .replace(/^Package: mawk\n(?:.+\n)*\n/m, "")
    .concat("Package: more\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n\n");
  writeFileSync(status, changed);
  const { packages, problems } = await diff(store, "web", "snap0");
  expect([packages, problems]).toEqual([
    [
      {
        manager: "dpkg",
        added: [{ name: "more", version: "1.0" }],
        removed: [{ name: "mawk", version: expect.stringMatching(/^1\./) }],
        changed: [{ name: "bash", from: version, to: "99.1" }],
      },
    ],
    [],
  ]);
  expect(await done("diff", "web", "snap0")).toContain(`packages (dpkg):\n  added    more 1.0\n  removed  mawk`);
  // A database that leads out of the tree is none of it.
  rmSync(status);
  symlinkSync("/../../../../../../var/lib/dpkg/status", status);
  expect((await diff(store, "web", "snap0")).packages).toMatchObject([{ manager: "dpkg", added: [] }]);
});

const RPM_DB = "/usr/lib/sysimage/rpm";

/** A package of nothing, by version. */
function buildRpm(directory: string, version: string): string {
  const spec = join(directory, "one.spec");
  const head = "Name: one\nVersion: %{v}\nRelease: 1\nSummary: one\nLicense: MIT\nBuildArch: noarch\n";
  writeFileSync(spec, `${head}%description\none\n%files\n`);
  const macros = [`v ${version}`, `_topdir ${directory}/build`, `_dbpath ${directory}/rpmdb`];
  const defines = macros.flatMap((macro) => ["--define", macro]);
  execFileSync("rpmbuild", ["-bb", "--quiet", ...defines, spec], { stdio: "pipe" });
  return join(directory, `build/RPMS/noarch/one-${version}-1.noarch.rpm`);
}

test("packages of rpm: read by rpm without rights, from a copy of the database", async (ctx) => {
  needsHere(ctx, "tool:rpm", "tool:rpmbuild");
  await using store = await imageRoot("directory");
  const { root, machines, done } = store;
  const web = join(machines, "web");
  mkdirSync(join(web, RPM_DB), { recursive: true });
  const install = (version: string): void => {
    const words = ["--root", web, "--dbpath", RPM_DB, "-U", "--justdb", "--nodeps", buildRpm(root.path, version)];
    execFileSync("rpm", words, { stdio: "pipe" });
  };
  install("1.0");
  await done("snapshot", "web");
  expect(await diff(store, "web", "snap0")).toMatchObject({
    packages: [{ manager: "rpm", added: [], removed: [], changed: [] }],
    problems: [],
  });
  install("2.0");
  const changed = [{ name: "one", from: "1.0-1", to: "2.0-1" }];
  expect((await diff(store, "web", "snap0")).packages).toEqual([{ manager: "rpm", added: [], removed: [], changed }]);
});

test("a database of rpm that is none is said to be so, whatever else there is to tell", async () => {
  await using store = await imageRoot("directory");
  const { machines, done } = store;
  const place = join(machines, "web", RPM_DB);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "rpmdb.sqlite"), "no database");
  await done("snapshot", "web");
  writeFileSync(join(machines, "web/new"), "");
  const { files, problems } = await diff(store, "web", "snap0");
  expect(problems).toEqual([expect.stringMatching(/^packages of rpm are not compared: /)]);
  expect(files.map(({ path }) => path)).toEqual(["/new"]);
});
