/** Images of registries: Debian's docker-registry has honest ones; what no honest one would say comes from a site of ours. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import {
  ARCH,
  type Blob,
  digestOf,
  dockerRegistry,
  type Image,
  layer,
  ociImage,
  ociIndex,
  pagesOf,
  push,
} from "../lib/oci.ts";
import { parseProbe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { type Page, ranged, type Site, site } from "../lib/site.ts";
import { directory, entry, file, hardLink, link, longName, OS, pax, tar } from "../lib/tar.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:docker-registry", "tool:gzip", "tool:zstd");
checkLeaks();
let probeLayer: Buffer;
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  const tree = await probeTree();
  probeLayer = execFileSync("tar", ["-c", "-C", tree, "."], { maxBuffer: 1 << 28 });
});

function rootWithCache(): BerthRoot {
  const root = berthRoot();
  root.env["BERTH_CACHE"] = join(root.path, "cache");
  return root;
}

const settings = (root: BerthRoot, name: string): string =>
  readFileSync(join(root.etc, "machines", `${name}.nspawn`), "utf8");
const read = (root: BerthRoot, path: string): string => readFileSync(join(root.machines, path), "utf8");

const DRIVERS = ["directory", "stack"] as const;
type Driver = (typeof DRIVERS)[number];

/** As a plain directory, for who looks into it. */
async function pulled(root: BerthRoot, ref: string, ...words: readonly string[]): Promise<string> {
  const driver = words.some((word) => word.startsWith("--driver=")) ? [] : ["--driver=directory"];
  const end = await root.berth("pull-oci", ref, ...driver, ...words);
  expect(end, end.stderr).toMatchObject({ status: 0 });
  const hidden = readdirSync(root.machines).filter((name) => name.startsWith(".") && name !== ".berth-layers");
  expect(hidden, "nothing is left beside it").toEqual([]);
  return end.stderr;
}

/** The tree of an image, whatever keeps it. */
async function exported(root: BerthRoot, name: string): Promise<string> {
  const [archive, tree] = [join(root.path, `${name}.tar`), root.directory(`out-${name}`)];
  expect(await root.berth("export-tar", name, archive)).toMatchObject({ status: 0, stderr: "" });
  execFileSync("tar", ["-xpf", archive, "-C", tree]);
  return tree;
}

/** Layers that the store has. */
function layersOf(root: BerthRoot): readonly string[] {
  const directory = join(root.machines, ".berth-layers");
  return existsSync(directory) ? readdirSync(directory) : [];
}

describe("an image of a real registry", () => {
  test("is pulled by its platform, and runs as it says", async () => {
    await using root = rootWithCache();
    await using registry = await dockerRegistry();
    const config = {
      ...{ Entrypoint: ["probe"], Cmd: ["env", "--", "cwd"], WorkingDir: "/var/tmp" },
      ...{
        Env: ["PATH=/bin:/", "GREETING=hello  wor'ld", "BAD-NAME=1", "LINES=a\nb"],
        User: "0:8",
        StopSignal: "SIGQUIT",
      },
    };
    const [lower, upper] = [layer(probeLayer), tar([directory("./"), directory("./etc"), file("./etc/added", "yes")])];
    const here = ociImage([lower, upper], config);
    const other = ociImage([tar([...OS])]);
    await push(registry.url, "team/app", "1.0", ociIndex({ s390x: other, [ARCH]: here }));
    const said = await pulled(root, `${registry.host}/team/app:1.0`);
    expect(said).toBe(
      "left out of the settings: variable BAD-NAME\nleft out of the settings: variable LINES\nleft out of the settings: group 8\n",
    );
    expect(read(root, "app/etc/added")).toBe("yes");
    expect(settings(root, "app").replace(/^.*\n/, "")).toBe(
      `# What ${registry.host}/team/app:1.0 says of how it is run, by berth pull-oci.\n` +
        `[Exec]\nBoot=no\nParameters=probe env -- cwd\nEnvironment=PATH=/bin:/\n` +
        `Environment='GREETING=hello  wor'"'"'ld'\nWorkingDirectory=/var/tmp\nKillSignal=SIGQUIT\n`,
    );
    expect((await root.berth("check", "app")).status).toBe(0);
    const { status, stdout } = await root.berth("run", "-M", "app", "--pipe");
    expect([status, parseProbe(stdout, "env"), parseProbe(stdout, "cwd")]).toMatchObject([
      0,
      { env: { GREETING: "hello  wor'ld", PATH: "/bin:/" } },
      { cwd: "/var/tmp" },
    ]);
  });

  test("of Docker's kind, with layers by zstd and as they are, by digest, is the same", async () => {
    await using root = rootWithCache();
    await using registry = await dockerRegistry();
    const plain: Blob = { type: "application/vnd.docker.image.rootfs.diff.tar", bytes: tar([...OS]) };
    const zstd: Blob = {
      type: "application/vnd.oci.image.layer.v1.tar+zstd",
      bytes: zstdCompressSync(tar([file("./two", "2")])),
    };
    const image = ociImage([plain, zstd, tar([])]);
    await push(registry.url, "app", "x", image);
    const digest = digestOf(image.manifest.bytes);
    await pulled(root, `${registry.host}/app@${digest}`, "one");
    expect([read(root, "one/etc/os-release"), read(root, "one/two")]).toEqual(["ID=test\n", "2"]);
    expect(readdirSync(join(root.machines, "one")).sort()).toEqual(["etc", "two"]);
    const { status, stderr } = await root.berth("pull-oci", `${registry.host}/app:other`);
    expect([status, stderr]).toEqual([
      1,
      `berth: ${registry.host}/app:other is not there\nhint: is the name right, with its path, and the tag?\n`,
    ]);
  });

  test("is put in the place of an older one with its settings, unless somebody has changed these", async () => {
    await using root = rootWithCache();
    await using registry = await dockerRegistry();
    for (const tag of ["1", "2"])
      await push(registry.url, "app", tag, ociImage([tar([...OS, file("./tag", tag)])], { Cmd: [`/${tag}`] }));
    await pulled(root, `${registry.host}/app:1`);
    expect(settings(root, "app")).toContain("Parameters=/1\n");
    expect(await pulled(root, `${registry.host}/app:2`, "--force")).toBe("");
    expect([read(root, "app/tag"), settings(root, "app")]).toEqual(["2", expect.stringContaining("Parameters=/2\n")]);
    writeFileSync(join(root.etc, "machines/app.nspawn"), `${settings(root, "app")}Hostname=mine\n`);
    expect(await pulled(root, `${registry.host}/app:1`, "--force")).toMatch(/app.nspawn stays as it is/);
    expect([read(root, "app/tag"), settings(root, "app")]).toEqual(["1", expect.stringContaining("Parameters=/2\n")]);
    expect((await root.berth("pull-oci", `${registry.host}/app:2`)).stderr).toMatch(/app exists already/);
  });
});

test.each(DRIVERS)(
  "layers lie over each other in a %s: what they replace, what they take away, and what they leave",
  async (driver) => {
    await using root = rootWithCache();
    const lower = tar([
      ...OS,
      ...[directory("./keep", 0o700), file("./keep/a", "a"), file("./keep/b", "b"), file("./gone", "x")],
      ...[directory("./opaque"), file("./opaque/old", "x"), directory("./opaque/sub"), file("./opaque/sub/old", "x")],
      ...[directory("./was-dir"), file("./was-dir/x", "x"), file("./was-file", "x"), link("./was-link", "keep")],
      ...[file("./linked", "one"), directory("./dir-gone"), file("./dir-gone/x", "x"), file("./again", "old")],
    ]);
    const upper = tar([
      ...[file("./keep/.wh.b"), file("./keep/c", "c"), file("./.wh.gone"), file("./.wh.dir-gone")],
      ...[directory("./opaque", 0o711), file("./opaque/.wh..wh..opq"), file("./opaque/new", "new")],
      ...[
        file("./was-dir", "file"),
        directory("./was-file"),
        file("./was-file/x", "in"),
        directory("./was-link"),
        file("./was-link/x", "own"),
      ],
      ...[
        file("./second", "two"),
        hardLink("./third", "./second"),
        file("./.wh.again"),
        file("./again", "new"),
        file("./.wh.never"),
      ],
      ...[
        file("./.wh..wh.plnk", "aufs"),
        entry({ name: "./fifo", type: "6" }),
        entry({ name: "./null", type: "3", device: [1, 3] }),
      ],
    ]);
    await using server = await site(pagesOf("app", { latest: ociImage([lower, upper]) }));
    await pulled(root, `${new URL(server.url).host}/app`, `--driver=${driver}`);
    const tree = await exported(root, "app");
    expect(readdirSync(tree).sort()).toEqual(
      [
        "again",
        "etc",
        "fifo",
        "keep",
        "linked",
        "null",
        "opaque",
        "second",
        "third",
        "was-dir",
        "was-file",
        "was-link",
      ].sort(),
    );
    expect([readdirSync(join(tree, "keep")), readdirSync(join(tree, "opaque"))]).toEqual([["a", "c"], ["new"]]);
    expect(lstatSync(join(tree, "keep")).mode & 0o777, "a way to what is in it leaves it as it is").toBe(0o700);
    expect(
      ["was-dir", "was-file/x", "was-link/x", "again"].map((path) => readFileSync(join(tree, path), "utf8")),
    ).toEqual(["file", "in", "own", "new"]);
    const opaque = lstatSync(join(tree, "opaque"));
    expect([opaque.mode & 0o777, opaque.mtimeMs], "what it has itself is as it is there").toEqual([0o711, 0]);
    expect(lstatSync(join(tree, "third")).ino).toBe(lstatSync(join(tree, "second")).ino);
    expect([lstatSync(join(tree, "fifo")).isFIFO(), lstatSync(join(tree, "null")).isCharacterDevice()]).toEqual([
      true,
      true,
    ]);
  },
);

/** Of what is in a tree: mode and owner. */
function kept(tree: string, paths: readonly string[]): Record<string, string> {
  const show = (path: string): string => {
    const { mode, uid, gid } = lstatSync(join(tree, path));
    return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
  };
  return Object.fromEntries(paths.map((path) => [path, show(path)]));
}

/** Layers by a registry, with a driver, as a tree. */
async function treeOf(root: BerthRoot, layers: readonly Buffer[], driver: Driver): Promise<string> {
  await using server = await site(pagesOf("app", { latest: ociImage(layers) }));
  await pulled(root, `${new URL(server.url).host}/app`, `--driver=${driver}`);
  return exported(root, "app");
}

describe.each(DRIVERS)("directories of layers, in a %s", (driver) => {
  test("are as the layer has them, whatever the clock of who made it said, and whatever they are called", async () => {
    await using root = rootWithCache();
    const now = Math.floor(Date.now() / 1000);
    const names = ["past", "future", "new\nline", "b\\ck", "b\\101ck", "** Block of NULs **", "\x01 é", "block 1: x"];
    const later = [...names, "way/in"];
    const own = (name: string, mtime: number): Buffer =>
      entry({ name: `.//${name}`, type: "5", mode: 0o700, uid: 33, mtime });
    const lower = tar([...OS, ...[...names, "way", "way/in", "last"].map((name) => directory(`./${name}`))]);
    const upper = tar([
      own("past", now - 1000),
      ...later.slice(1).map((name) => own(name, now + 1000)),
      ...[file("./last/x"), entry({ name: "last", type: "5", mode: 0o755, uid: 33 })],
    ]);
    const tree = await treeOf(root, [lower, upper], driver);
    const theirs = Object.fromEntries(later.map((name) => [name, "700 33:33"]));
    expect(kept(tree, [...later, "last", "way"])).toEqual({ ...theirs, last: "755 33:33", way: "755 0:0" });
  });

  test("that they have only as ways are as they were below", async () => {
    await using root = rootWithCache();
    const own = (name: string, mode = 0o700): Buffer => entry({ name, type: "5", mode, uid: 33 });
    const lower = tar([
      ...[own("./", 0o711), own("./etc"), own("./etc/new\nline"), own("./etc/new\nline/'"), file("./etc/os-release")],
      ...[own("./real"), own("./real/sub"), link("./link", "real")],
    ]);
    const upper = tar([file("etc/new\nline/'/x"), file("link/sub/x")]);
    const tree = await treeOf(root, [lower, tar([]), upper], driver);
    expect(kept(tree, [".", "etc", "etc/new\nline", "etc/new\nline/'", "link", "link/sub"])).toEqual({
      ...{ ".": "711 33:33", etc: "700 33:33", "etc/new\nline": "700 33:33", "etc/new\nline/'": "700 33:33" },
      ...{ link: "755 0:0", "link/sub": "755 0:0" },
    });
  });

  const SECRET = tar([...OS, directory("./a", 0o711), directory("./a/b", 0o700), file("./a/b/old"), file("./a/c")]);
  const OPAQUE = [directory("./a", 0o711), file("./a/.wh..wh..opq")];
  test.each<[string, readonly Buffer[]]>([
    ["a layer between", [SECRET, tar(OPAQUE), tar([file("./a/b/x")])]],
    ["the layer itself", [SECRET, tar([...OPAQUE, file("./a/b/x")])]],
    ["the layer itself, which has that as a way only", [SECRET, tar([file("./a/b/x"), file("./a/.wh..wh..opq")])]],
    ["a whiteout of what is above", [SECRET, tar([file("./.wh.a"), directory("./a", 0o711), file("./a/b/x")])]],
    [
      "a layer with something else",
      [SECRET, tar([file("./a")]), tar([directory("./a", 0o711)]), tar([file("./a/b/x")])],
    ],
  ])("are none of those that are hidden by %s", async (_, layers) => {
    await using root = rootWithCache();
    const tree = await treeOf(root, layers, driver);
    expect(kept(tree, ["a", "a/b"])).toEqual({ a: "711 0:0", "a/b": "755 0:0" });
    expect([readdirSync(join(tree, "a")), readdirSync(join(tree, "a/b"))]).toEqual([["b"], ["x"]]);
  });

  test("are none of those below a root in which all is hidden", async () => {
    await using root = rootWithCache();
    const upper = tar([file("./.wh..wh..opq"), ...OS, file("./a/b/x"), file("./.wh.gone")]);
    const lower = tar([directory("./", 0o711), directory("./gone"), file("./file")]);
    const tree = await treeOf(root, [lower, SECRET, upper, tar([file("./z/x"), file("a/y")])], driver);
    expect(kept(tree, ["a", "a/b"])).toEqual({ a: "755 0:0", "a/b": "755 0:0" });
    expect([readdirSync(tree).sort(), readdirSync(join(tree, "a")).sort(), readdirSync(join(tree, "a/b"))]).toEqual([
      ["a", "etc", "z"],
      ["b", "y"],
      ["x"],
    ]);
  });

  test("in which all is hidden have nothing more of which something is taken away", async () => {
    await using root = rootWithCache();
    const upper = tar([...OPAQUE, file("./a/.wh.c"), directory("./a/b"), file("./a/b/.wh.old"), file("./.wh.link")]);
    const tree = await treeOf(root, [SECRET, tar([link("./link", "a")]), upper], driver);
    expect([readdirSync(tree), readdirSync(join(tree, "a")), readdirSync(join(tree, "a/b"))]).toEqual([
      ["a", "etc"],
      ["b"],
      [],
    ]);
  });
});

test("a cut layer is refused, whatever its last file is called", async () => {
  await using root = rootWithCache();
  const cut = tar([...OS, file("** Block of NULs **")], { end: 0 });
  await using server = await site(pagesOf("app", { latest: ociImage([cut]) }));
  for (const driver of DRIVERS) await refused(root, server, /it ends before its end/, driver);
});

describe.each(DRIVERS)("hostile layers change nothing but the tree, in a %s", (driver) => {
  const LOWER = tar([
    ...OS,
    directory("./dir"),
    file("./dir/kept", "kept"),
    link("./up", ".."),
    link("./far", "/tmp"),
    link("./self", "dir"),
  ]);

  test.each<[string, Buffer]>([
    ["a whiteout through a link upwards", tar([file("./up/.wh.canary")])],
    ["a whiteout through a link to the host", tar([file("./far/.wh.canary")])],
    ["a whiteout through a link in the tree", tar([file("./self/.wh.kept")])],
    ["an opaque directory that is a link", tar([directory("./self"), file("./self/.wh..wh..opq")])],
    ["a directory in the place of a link", tar([directory("./far"), file("./far/x", "x")])],
    ["a file below a link without its directory", tar([file("./far/x", "x")])],
    ["a whiteout with a long name and a line break", tar([longName(`./${"y".repeat(150)}\n/.wh.x`), file("short")])],
  ])("%s", async (_, upper) => {
    await using root = rootWithCache();
    const canary = join(root.path, "canary");
    writeFileSync(canary, "canary");
    writeFileSync(join(root.machines, "canary"), "canary");
    await using server = await site(pagesOf("app", { latest: ociImage([LOWER, upper]) }));
    await pulled(root, `${new URL(server.url).host}/app`, `--driver=${driver}`);
    const tree = await exported(root, "app");
    expect(readFileSync(join(tree, "dir/kept"), "utf8")).toBe("kept");
    expect([existsSync(canary), existsSync(join(root.machines, "canary")), existsSync("/tmp/x")]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test.each<[string, Buffer, RegExp]>([
    ["a whiteout of ..", tar([file("./dir/.wh...")]), /a whiteout of nothing/],
    ["a whiteout of .", tar([file("./dir/.wh..")]), /a whiteout of nothing/],
    ["a whiteout of nothing", tar([file("./.wh.")]), /a whiteout of nothing/],
    ["a whiteout that is a directory", tar([directory("./.wh.dir"), file("./.wh.dir/x")]), /that is a directory/],
    ["a name upwards", tar([file("../evil", "x")]), /the archive is refused/],
    ["a long name upwards", tar([pax({ path: "a/../../evil" }), file("x")]), /the archive is refused/],
    ["a way through its own link", tar([link("./out", "/tmp"), file("./out/evil", "x")]), /the archive is refused/],
    ["a name for a file below", tar([hardLink("./copy", "../../../etc/passwd")]), /the archive is refused/],
    ["a cut one", tar([...OS]).subarray(0, 700), /the archive is refused/],
    ["a page", Buffer.from("<html>"), /the archive is refused/],
  ])("%s is refused, and nothing is left", async (_, upper, reason) => {
    await using root = rootWithCache();
    await using server = await site(pagesOf("app", { latest: ociImage([LOWER, upper]) }));
    await refused(root, server, reason, driver);
    expect(existsSync("/tmp/evil")).toBe(false);
  });
});

test("a layer with more to take away, or more ways to it, than any image has is refused before all of it is in memory", async () => {
  const deep = Array.from({ length: 15 }, () => "x".repeat(250)).join("/");
  const ways = Array.from({ length: 4600 }, (_, index) => [longName(`./${deep}/${index}/x`), file("short")]).flat();
  await using root = rootWithCache();
  await using server = await site(pagesOf("app", { latest: ociImage([tar([...OS, ...ways])]) }));
  await refused(root, server, /takes away more than any image has/);
});

async function refused(root: BerthRoot, server: Site, reason: RegExp, driver: Driver = "stack"): Promise<void> {
  const { status, stderr } = await root.berth("pull-oci", `${new URL(server.url).host}/app`, `--driver=${driver}`);
  expect([status, stderr]).toEqual([1, expect.stringMatching(reason)]);
  expect(readdirSync(root.machines).filter((name) => name !== ".berth-layers")).toEqual([]);
  expect([layersOf(root), readdirSync(join(root.etc, "machines"))]).toEqual([[], []]);
  const kept = join(root.path, "cache/downloads");
  expect(existsSync(kept) ? readdirSync(kept) : []).toEqual([]);
}

describe("a registry that is not what it should be leaves nothing", () => {
  const IMAGE = ociImage([tar([...OS])]);
  const MANIFEST = "/v2/app/manifests/latest";
  const [, blob] = IMAGE.blobs;
  const BLOB = `/v2/app/blobs/${digestOf(blob?.bytes ?? Buffer.alloc(0))}`;
  const manifest =
    (value: object): Page =>
    (_, response) =>
      response
        .writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" })
        .end(JSON.stringify(value));
  const with_ = (more: Record<string, Page>): Record<string, Page> => ({
    ...pagesOf("app", { latest: IMAGE }),
    ...more,
  });
  const say =
    (status: number, headers: Record<string, string> = {}): Page =>
    (_, response) =>
      response.writeHead(status, headers).end("{}");
  const bearer = (realm: string): Page => say(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` });
  const image = (more: object): Image => ociImage([tar([...OS])], {}, more);

  test.each<[string, Record<string, Page>, RegExp]>([
    ["a blob of another digest", with_({ [BLOB]: Buffer.alloc(blob?.bytes.length ?? 0) }), /is refused: its digest is/],
    ["a blob of another size", with_({ [BLOB]: Buffer.alloc(10) }), /is refused: it has 10 bytes/],
    ["a blob that is not there", with_({ [BLOB]: say(404) }), /answers 404/],
    [
      "a blob without an end",
      with_({
        [BLOB]: (_, response) => {
          const more = (): void => {
            if (!response.destroyed) response.write(Buffer.alloc(65_536), more);
          };
          more();
        },
      }),
      /has more than \d+ bytes/,
    ],
    [
      "a configuration of another digest",
      with_(Object.fromEntries(IMAGE.blobs.slice(0, 1).map(({ bytes }) => [`/v2/app/blobs/${digestOf(bytes)}`, "{}"]))),
      /is refused: its digest is/,
    ],
    ["a manifest that is a page", { [MANIFEST]: "<html>" }, /the manifest of the image is no JSON/],
    ["a manifest without an end", { [MANIFEST]: "[".repeat(2 << 20) }, /has more than 1048576 bytes/],
    [
      "a manifest of Docker's first kind",
      { [MANIFEST]: manifest({ schemaVersion: 1, fsLayers: [] }) },
      /it is none of Docker's schema 2 or OCI's/,
    ],
    ["no layers", pagesOf("app", { latest: image({ layers: [] }) }), /it has 0 layers/],
    ["too many layers", pagesOf("app", { latest: image({ layers: Array(257).fill({}) }) }), /it has 257 layers/],
    [
      "a layer that is elsewhere",
      pagesOf("app", {
        latest: image({
          layers: [
            {
              mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
              digest: `sha256:${"0".repeat(64)}`,
              size: 1,
              urls: ["http://127.0.0.1/"],
            },
          ],
        }),
      }),
      /a layer of it is "application\/vnd.docker.image.rootfs.foreign/,
    ],
    [
      "a digest that is a path",
      pagesOf("app", {
        latest: image({
          layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: "sha256:../../x", size: 1 }],
        }),
      }),
      /a layer has no digest and size/,
    ],
    [
      "an image for another architecture, which no index says",
      pagesOf("app", { latest: ociImage([Buffer.from("x")], {}, {}, "s390x") }),
      /is not there for .*\nhint: it is there for s390x; --arch chooses/,
    ],
    [
      "no image for this architecture",
      pagesOf("app", { latest: ociIndex({ s390x: IMAGE }) }),
      /is not there for .*\nhint: it is there for s390x/,
    ],
    [
      "401 again and again",
      with_({ [MANIFEST]: say(401, { "www-authenticate": 'Basic realm="x"' }) }),
      /does not give .* to nobody in particular/,
    ],
    [
      "a way to log in that nobody knows",
      with_({ [MANIFEST]: say(401, { "www-authenticate": "Digest x=1" }) }),
      /a way to log in that is not known/,
    ],
    [
      "a token from another host, unencrypted",
      with_({ [MANIFEST]: bearer("http://127.0.0.2:9/token") }),
      /which is not encrypted/,
    ],
    ["a token from nowhere", with_({ [MANIFEST]: bearer("file:///etc/passwd") }), /which is not encrypted/],
    ["redirects without an end", with_({ [BLOB]: say(307, { location: BLOB }) }), /more than 10 redirects/],
  ])("%s", async (_, pages, reason) => {
    await using root = rootWithCache();
    await using server = await site(pages);
    await refused(root, server, reason);
  });
});

describe("who asks", () => {
  const IMAGE = ociImage([tar([...OS])]);

  /** Wants a token of its own, which wants a password where `password` is given; counts what is asked for in vain. */
  function guarded(port: () => string, token: string, password?: string): Record<string, Page> {
    const pages = pagesOf("app", { latest: IMAGE });
    const guard =
      (page: Page | undefined): Page =>
      (request, response) => {
        if (request.headers.authorization === `Bearer ${token}` && typeof page === "function") page(request, response);
        else
          response
            .writeHead(401, {
              "www-authenticate": `Bearer realm="${port()}/token",service="here",scope="repository:evil:push"`,
            })
            .end();
      };
    const basic = password && `Basic ${Buffer.from(`me:${password}`).toString("base64")}`;
    return {
      ...Object.fromEntries(Object.entries(pages).map(([path, page]) => [path, guard(page)])),
      "/token?service=here&scope=repository%3Aapp%3Apull": (request, response) =>
        request.headers.authorization === basic
          ? response.writeHead(200).end(JSON.stringify({ token }))
          : response.writeHead(401).end(),
    };
  }

  test("gets a token as anybody, for that repository and no more", async () => {
    await using root = rootWithCache();
    let url = "";
    await using server = await site(guarded(() => url, "t0ken"));
    url = server.url;
    await pulled(root, `${new URL(url).host}/app`);
    expect(server.asked.filter((path) => path.startsWith("/token")).length, "once for all").toBe(1);
  });

  test("gets one by the credentials that are kept for the registry, whose place another host never sees", async () => {
    await using root = rootWithCache();
    let url = "";
    const headers: (string | undefined)[] = [];
    await using elsewhere = await site({
      "/blob": (request, response) => {
        headers.push(request.headers.authorization);
        response.end(IMAGE.blobs[1]?.bytes);
      },
    });
    const blob = `/v2/app/blobs/${digestOf(IMAGE.blobs[1]?.bytes ?? Buffer.alloc(0))}`;
    await using server = await site({
      ...guarded(() => url, "t0ken", "secret"),
      [blob]: (_, response) => response.writeHead(307, { location: `${elsewhere.url}/blob` }).end(),
    });
    url = server.url;
    const { host } = new URL(url);
    expect((await root.berth("pull-oci", `${host}/app`)).stderr).toMatch(/does not give .* to nobody in particular/);
    const auth = (password: string): string => Buffer.from(`me:${password}`).toString("base64");
    const keep = (password: string): void =>
      writeFileSync(join(root.etc, "auth.json"), JSON.stringify({ auths: { [host]: { auth: auth(password) } } }));
    keep("wrong");
    const wrong = await root.berth("pull-oci", `${host}/app`);
    expect(wrong.stderr).toMatch(/does not give .* by these credentials/);
    expect(wrong.stderr).not.toContain("wrong");
    keep("secret");
    await pulled(root, `${host}/app`);
    expect(headers).toEqual([undefined]);
  });

  test("says who we are to none but itself: where it leads to somebody else who asks, that is refused", async () => {
    await using root = rootWithCache();
    let url = "";
    await using elsewhere = await site({
      "/blob": (_, response) =>
        response.writeHead(401, { "www-authenticate": `Bearer realm="${url}/taken",service="x"` }).end(),
    });
    const blob = `/v2/app/blobs/${digestOf(IMAGE.blobs[1]?.bytes ?? Buffer.alloc(0))}`;
    await using server = await site({
      ...pagesOf("app", { latest: IMAGE }),
      [blob]: (_, response) => response.writeHead(307, { location: `${elsewhere.url}/blob` }).end(),
    });
    url = server.url;
    const { host } = new URL(url);
    const auth = Buffer.from("me:secret").toString("base64");
    writeFileSync(join(root.etc, "auth.json"), JSON.stringify({ auths: { [host]: { auth } } }));
    const { status, stderr } = await root.berth("pull-oci", `${host}/app`);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/the server answers 401 Unauthorized/)]);
    expect(server.asked.filter((path) => path.startsWith("/taken"))).toEqual([]);
  });

  test("asks another server where registries.conf says so, and says which registry", async () => {
    await using root = rootWithCache();
    await using server = await site(pagesOf("library/app", { 3: IMAGE }));
    writeFileSync(join(root.etc, "registries.conf"), `[images.invalid]\nserver = ${server.url}\n`);
    await pulled(root, "images.invalid/library/app:3");
    expect(settings(root, "app")).toMatch(/\n# What images.invalid\/library\/app:3 says/);
    for (const ref of [
      "alpine",
      "library/alpine:3",
      "https://x/y",
      "images.invalid/UP",
      "images.invalid/a@sha256:0",
      "images.invalid/a:b:c",
    ])
      expect((await root.berth("pull-oci", ref)).status, ref).toBe(2);
    expect((await root.berth("pull-oci", "alpine:3.20")).stderr).toMatch(
      /does not say which registry it is in\nhint: as in docker.io\//,
    );
  });
});

test("a layer whose connection breaks is gone on with; one that is kept is not asked for again, for another image either", async () => {
  await using root = rootWithCache();
  const base = layer(tar([...OS, file("./data", randomBytes(1 << 20))]));
  const images = { one: ociImage([base]), two: ociImage([base, tar([file("./two", "2")])]) };
  const path = `/v2/app/blobs/${digestOf(base.bytes)}`;
  let turn = 0;
  const answered: (number | undefined)[] = [];
  const page: Page = (request, response) => {
    const now = ranged(base.bytes, { etag: '"1"', cut: turn++ === 0 ? 500_000 : undefined });
    if (typeof now === "function") now(request, response);
    answered.push(response.statusCode);
  };
  await using server = await site({ ...pagesOf("app", images), [path]: page });
  const { host } = new URL(server.url);
  await pulled(root, `${host}/app:one`, "one", "--keep-download=yes");
  await pulled(root, `${host}/app:two`, "two");
  expect(answered).toEqual([200, 206, 304]);
  expect([read(root, "two/two"), lstatSync(join(root.machines, "two/data")).size]).toEqual(["2", 1 << 20]);
});

describe("layers that images share", () => {
  test("are downloaded and kept once; each image has them as long as it is there", async () => {
    await using root = rootWithCache();
    const base = layer(probeLayer);
    const images = {
      one: ociImage([base, tar([directory("./etc"), file("./etc/is", "one")])], { Cmd: ["/probe", "cwd"] }),
      two: ociImage([base, tar([directory("./etc"), file("./etc/is", "two"), file("./etc/.wh.os-release")])]),
    };
    await using server = await site(pagesOf("app", images));
    const { host } = new URL(server.url);
    const asked = (): number => server.asked.filter((path) => path.endsWith(digestOf(base.bytes))).length;
    await pulled(root, `${host}/app:one`, "one", "--driver=stack");
    await pulled(root, `${host}/app:two`, "two", "--driver=stack");
    expect([
      asked(),
      layersOf(root).length,
      readdirSync(root.machines).filter((name) => !name.startsWith(".")),
    ]).toEqual([1, 3, ["one.mstack", "two.mstack"]]);
    expect(layersOf(root).every((name) => /^sha256-[0-9a-f]{64}$/.test(name))).toBe(true);
    expect((await root.berth("remove", "one")).status).toBe(0);
    const tree = await exported(root, "two");
    expect([readFileSync(join(tree, "etc/is"), "utf8"), existsSync(join(tree, "etc/os-release"))]).toEqual([
      "two",
      false,
    ]);
    await pulled(root, `${host}/app:one`, "one", "--driver=stack");
    expect(asked(), "the second one has it still").toBe(1);
    const { status, stdout } = await root.berth("run", "-M", "one", "--pipe");
    expect([status, parseProbe(stdout, "cwd")]).toMatchObject([0, { cwd: "/" }]);
    for (const name of ["one", "two"]) expect((await root.berth("remove", name)).status).toBe(0);
    expect(layersOf(root)).toEqual([]);
  });

  test("are one where two pulls make them at a time", async () => {
    await using root = rootWithCache();
    const image = ociImage([layer(probeLayer), tar([file("./x", "x")])]);
    await using server = await site(pagesOf("app", { latest: image }));
    const { host } = new URL(server.url);
    const ends = ["one", "two"].map((name) => root.berth("pull-oci", `${host}/app`, name, "--driver=stack"));
    expect(await Promise.all(ends)).toMatchObject([{ status: 0 }, { status: 0 }]);
    expect(layersOf(root).length).toBe(2);
    expect(readFileSync(join(await exported(root, "two"), "x"), "utf8")).toBe("x");
  });

  test("are what an image is kept in where the file system shares no blocks", async () => {
    await using root = rootWithCache();
    await using server = await site(pagesOf("app", { latest: ociImage([tar([...OS])]) }));
    rmdirSync(root.machines); // the first image of a root
    const end = await root.berth("pull-oci", `${new URL(server.url).host}/app`, "--json");
    const { driver } = JSON.parse(end.stdout) as { driver: string };
    expect(driver).toBe(
      ["ext4", "tmpfs", "f2fs"].includes(fileSystemOf(root.machines)) ? "overlay" : expect.any(String),
    );
  });
});

function fileSystemOf(path: string): string {
  return execFileSync("stat", ["-f", "-c", "%T", path], { encoding: "utf8" }).trim().replace("ext2/ext3", "ext4");
}
