/** Images of a server as LXC's and Incus's are: its tree of files is served by nginx; a hostile one says what it likes. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BerthRoot, berthRoot, buildBerth } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { type Nginx, nginx } from "../lib/nginx.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";
import { site } from "../lib/site.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:nginx", "tool:xz", "tool:mksquashfs");
checkLeaks();
let tree = "";
beforeAll(async () => {
  if (!ready) return;
  buildBerth();
  tree = await probeTree({ init: true });
});

const ARCH = process.arch === "arm64" ? "arm64" : "amd64";
const sumOf = (...parts: readonly Buffer[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

const METADATA = `architecture: x86_64
creation_date: 1767225600
properties:
  name: alpine-3.20
templates:
  /etc/hostname:
    when:
    - create
    - copy
    template: hostname.tpl
  /etc/hosts:
    when:
    - create
    template: hosts.tpl
  /etc/network/interfaces:
    when:
    - create
    template: interfaces.tpl
`;

type Format = "root.tar.xz" | "squashfs" | "combined";

/** Lays out a server's files below `directory`, as the real ones are; `formats` of alpine/3.20, in two versions. */
async function layOut(root: BerthRoot, formats: readonly Format[]): Promise<string> {
  const server = root.directory("server");
  const rootfs = await probeTree({ init: true, at: join(root.path, "rootfs") });
  writeFileSync(join(rootfs, "etc/hostname"), "LXC_NAME\n");
  const about = root.directory("about");
  mkdirSync(join(about, "templates"));
  writeFileSync(join(about, "metadata.yaml"), METADATA);
  writeFileSync(join(about, "templates/hostname.tpl"), "{{ container.name }}\n");
  writeFileSync(join(about, "templates/hosts.tpl"), "127.0.1.1 {{ instance.name }}\n");
  writeFileSync(join(about, "templates/interfaces.tpl"), "{% if x %}{% endif %}\n");
  const versions: Record<string, object> = {};
  for (const serial of ["20260101_13:00", "20260102_13:00"]) {
    writeFileSync(join(rootfs, "etc/serial"), serial);
    const place = `images/alpine/3.20/${ARCH}/default/${serial}`;
    mkdirSync(join(server, place), { recursive: true });
    versions[serial] = { items: makeItems(server, place, { rootfs, about, formats }) };
  }
  const product = {
    ...{ aliases: "alpine/3.20/default,alpine/3.20", arch: ARCH, os: "Alpine", release: "3.20", release_title: "3.20" },
    ...{ variant: "default", requirements: {}, versions },
  };
  const other = { ...product, aliases: "alpine/edge", arch: "s390x" };
  writeIndex(server, { [`alpine:3.20:${ARCH}:default`]: product, "alpine:edge:s390x:default": other });
  return server;
}

interface Sources {
  readonly rootfs: string;
  readonly about: string;
  readonly formats: readonly Format[];
}

function makeItems(server: string, place: string, { rootfs, about, formats }: Sources): object {
  const at = (name: string): string => join(server, place, name);
  const packed = (name: string, ...words: readonly string[]): Buffer => {
    execFileSync("tar", ["-cJf", at(name), ...words]);
    return readFileSync(at(name));
  };
  const item = (ftype: string, name: string, bytes: Buffer, more: object = {}): object => ({
    [name]: { ftype, path: `${place}/${name}`, sha256: sumOf(bytes), size: bytes.length, ...more },
  });
  const metadata = packed("incus.tar.xz", "-C", about, "metadata.yaml", "templates");
  const items: object[] = [];
  const combined: Record<string, string> = {};
  if (formats.includes("root.tar.xz")) {
    const bytes = packed("rootfs.tar.xz", "-C", rootfs, ".");
    combined["combined_rootxz_sha256"] = sumOf(metadata, bytes);
    items.push(item("root.tar.xz", "rootfs.tar.xz", bytes));
  }
  if (formats.includes("squashfs")) {
    execFileSync("mksquashfs", [rootfs, at("rootfs.squashfs"), "-noappend", "-quiet", "-no-progress"]);
    const bytes = readFileSync(at("rootfs.squashfs"));
    combined["combined_squashfs_sha256"] = sumOf(metadata, bytes);
    items.push(item("squashfs", "rootfs.squashfs", bytes));
  }
  if (formats.includes("combined")) {
    rmSync(join(about, "rootfs"), { recursive: true, force: true });
    cpSync(rootfs, join(about, "rootfs"), { recursive: true, verbatimSymlinks: true });
    const bytes = packed("incus_combined.tar.gz", "-C", about, "metadata.yaml", "templates", "rootfs");
    items.push(item("incus_combined.tar.gz", "incus_combined.tar.gz", bytes));
  } else items.push(item("incus.tar.xz", "incus.tar.xz", metadata, combined));
  return Object.assign({}, ...items);
}

function writeIndex(server: string, products: object): void {
  const write = (path: string, value: object): void => {
    mkdirSync(dirname(join(server, path)), { recursive: true });
    writeFileSync(join(server, path), JSON.stringify(value));
  };
  write("streams/v1/images.json", {
    content_id: "images",
    datatype: "image-downloads",
    format: "products:1.0",
    products,
  });
  const entry = { datatype: "image-downloads", path: "streams/v1/images.json", format: "products:1.0" };
  write("streams/v1/index.json", {
    format: "index:1.0",
    index: { images: { ...entry, products: Object.keys(products) } },
  });
}

/** With a remote `here`, and a cache of its own. */
async function rootWith(url: string, root = berthRoot()): Promise<BerthRoot> {
  root.env["BERTH_CACHE"] = join(root.path, "cache");
  expect(await root.berth("remote", "add", "here", url)).toMatchObject({ status: 0, stdout: "", stderr: "" });
  return root;
}

const pulled = (root: BerthRoot, name: string, file: string): string =>
  readFileSync(join(root.machines, name, file), "utf8");

describe("an image of a server", () => {
  test.each<[Format]>([["root.tar.xz"], ["squashfs"], ["combined"]])(
    "as %s is pulled, named, told its name, and runs",
    async (format) => {
      await using root = berthRoot();
      const server = await layOut(root, [format]);
      await using web: Nginx = await nginx(server);
      await rootWith(web.url, root);
      expect(await root.berth("pull", "here:alpine/3.20", "web")).toMatchObject({ status: 0, stdout: "", stderr: "" });
      expect(readdirSync(root.machines).sort()).toEqual(["web"]);
      expect(pulled(root, "web", "etc/serial")).toBe("20260102_13:00");
      expect(pulled(root, "web", "etc/hostname")).toBe("web\n");
      expect(pulled(root, "web", "etc/hosts")).toBe("127.0.1.1 web\n");
      expect(existsSync(join(root.machines, "web/etc/network"))).toBe(false);
      expect(statSync(join(root.machines, "web")).mode & 0o777).toBe(statSync(tree).mode & 0o777);
      const { status, stdout } = await root.berth("run", "-M", "web", "--pipe", "--", ...probe("ids"));
      expect([status, parseProbe(stdout).length]).toEqual([0, 1]);
      expect((await root.berth("start", "web")).status).toBe(0);
      expect((await root.berth("terminate", "web")).status).toBe(0);
    },
  );

  test("is kept where that is asked for; the next pull, by another name, asks whether it has changed", async () => {
    await using root = berthRoot();
    await using web = await nginx(await layOut(root, ["root.tar.xz", "squashfs"]));
    await rootWith(web.url, root);
    const one = await root.berth("pull", `here:alpine/3.20/${ARCH}`, "--keep-download=yes", "--json");
    expect(one.stderr).toBe("");
    expect(JSON.parse(one.stdout)).toMatchObject({ name: `alpine-3.20-${ARCH}`, type: "directory" });
    expect((await root.berth("pull", "here:alpine/3.20/default", "two")).status).toBe(0);
    const roots = web.requests().filter((line) => line.includes("rootfs.tar.xz"));
    expect(roots.map((line) => line.split(" ")[2])).toEqual(["200", "304"]);
    expect(web.requests().some((line) => line.includes("squashfs"))).toBe(false);
    const { stdout } = await root.berth("list-images", "here:", "--json");
    const [{ fingerprint }] = JSON.parse(stdout) as [{ fingerprint: string }];
    expect((await root.berth("pull", `here:${fingerprint.slice(0, 12)}`, "three")).status).toBe(0);
    expect(pulled(root, "three", "etc/hostname")).toBe("three\n");
  });

  test("is listed: of this architecture, or all, by a part of its name", async () => {
    await using root = berthRoot();
    await using web = await nginx(await layOut(root, ["root.tar.xz"]));
    await rootWith(web.url, root);
    const list = async (...words: readonly string[]): Promise<string> => {
      const end = await root.berth("images", ...words);
      expect(end.status).toBe(0);
      return end.stdout;
    };
    expect(await list("here:alp")).toMatch(
      new RegExp(
        `^ALIAS +FINGERPRINT +ARCH +SIZE +DATE +DESCRIPTION\\nalpine/3.20 \\(1 more\\) +[0-9a-f]{12} +${ARCH} +\\S+ ?\\S* +2026-01-02 +Alpine 3.20 ${ARCH}\\n$`,
      ),
    );
    expect(JSON.parse(await list("here:", "--all", "--json")).length).toBe(2);
    expect(JSON.parse(await list("here:edge", "--arch=s390x", "--json"))).toMatchObject([
      {
        aliases: ["alpine/edge"],
        architecture: "s390x",
        serial: "20260102_13:00",
        created: "2026-01-02T00:00:00.000Z",
      },
    ]);
    expect(await list("here:void", "--json")).toBe("[]\n");
    expect(await root.berth("pull", "here:alpine/edge")).toMatchObject({
      status: 1,
      stderr: `berth: "alpine/edge" is not there for ${ARCH}\nhint: --arch: s390x\n`,
    });
    expect((await root.berth("images", "web")).status).toBe(2);
    expect((await root.berth("pull", "alpine")).status).toBe(2);
    expect((await root.berth("pull", "here:alpine/3.20", "--arch=z80")).status).toBe(2);
    expect((await root.berth("pull", "elsewhere:alpine")).stderr).toMatch(/^berth: no remote "elsewhere"/);
  });
});

test("remotes: those of berth, those of the settings, and what is none", async () => {
  await using root = await rootWith("https://images.invalid/path/");
  const remotes = async (): Promise<unknown> => JSON.parse((await root.berth("remotes", "--json")).stdout);
  const here = { name: "here", url: "https://images.invalid/path/", protocol: "simplestreams", builtIn: false };
  expect(await remotes()).toMatchObject([here, { name: "images", builtIn: true }]);
  expect(await root.berth("remote", "add", "here", "https://x.invalid")).toMatchObject({ status: 1 });
  expect((await root.berth("remote", "remove", "images")).stderr).toMatch(/^berth: remote images comes with berth/);
  expect((await root.berth("remote", "add", "images", "https://mirror.invalid")).status).toBe(0);
  expect(await remotes()).toMatchObject([here, { name: "images", url: "https://mirror.invalid/", builtIn: false }]);
  expect((await root.berth("remote", "remove", "images")).status).toBe(0);
  expect((await root.berth("remote", "list")).stdout).toMatch(/^NAME +URL +PROTOCOL +FROM\nhere /);
  for (const wrong of [["add", "a:b", "https://x"], ["add", "x"], ["add", "x", "ftp://x"], ["frob"]])
    expect((await root.berth("remote", ...wrong)).status, wrong.join(" ")).toBe(2);
  writeFileSync(join(root.etc, "remotes.conf"), "[here]\nprotocol = oci\nurl = https://x.invalid\n");
  expect((await root.berth("remote")).stderr).toMatch(/remotes.conf: \[here\] protocol: "oci" is not known/);
});

describe("a server that is not what it should be leaves nothing", () => {
  const META = Buffer.from("m");
  const ROOT = Buffer.from("r");
  const list = (root: object, meta: object = {}): string => {
    const items = {
      m: {
        ftype: "incus.tar.xz",
        path: "m",
        sha256: sumOf(META),
        size: 1,
        combined_rootxz_sha256: sumOf(META, ROOT),
        ...meta,
      },
      r: { ftype: "root.tar.xz", path: "r", sha256: sumOf(ROOT), size: 1, ...root },
    };
    return JSON.stringify({ products: { a: { aliases: "x", arch: ARCH, versions: { "20260101": { items } } } } });
  };
  const INDEX = JSON.stringify({ index: { a: { datatype: "image-downloads", path: "l.json" } } });
  const pages = { "/streams/v1/index.json": INDEX, "/m": META, "/r": ROOT };

  test.each<[string, Parameters<typeof site>[0], RegExp]>([
    ["no index", {}, /index.json is not there\nhint: is that an image server/],
    ["an index that is a page", { "/streams/v1/index.json": "<html>log in" }, /is no JSON/],
    ["an endless index", { "/streams/v1/index.json": "[".repeat(2 << 20) }, /more than 1048576 bytes/],
    ["a deep list", { ...pages, "/l.json": "[".repeat(1 << 20) }, /is no JSON/],
    ["an empty list", { ...pages, "/l.json": "{}" }, /has no image "x"/],
    [
      "a root of another checksum",
      { ...pages, "/l.json": list({ sha256: "0".repeat(64) }) },
      /\/r is refused: its SHA-256 is/,
    ],
    [
      "metadata of another checksum",
      { ...pages, "/l.json": list({}, { sha256: "0".repeat(64) }) },
      /\/m is refused: its SHA-256 is/,
    ],
    ["a root of another size", { ...pages, "/l.json": list({ size: 2 }) }, /\/r is refused: it has 1 bytes, not 2/],
    [
      "parts that do not belong together",
      { ...pages, "/l.json": list({}, { combined_rootxz_sha256: "0".repeat(64) }) },
      /its fingerprint is/,
    ],
    ["metadata without an end", { ...pages, "/l.json": list({}, { size: 1 << 30 }) }, /metadata of 1073741824 bytes/],
    ["parts that are no archives", { ...pages, "/l.json": list({}) }, /the archive is refused/],
  ])("%s", async (_, served, reason) => {
    await using server = await site(served);
    await using root = await rootWith(server.url);
    const { status, stderr } = await root.berth("pull", "here:x");
    expect([status, stderr]).toEqual([1, expect.stringMatching(reason)]);
    expect(readdirSync(root.machines)).toEqual([]);
    expect(
      existsSync(join(root.path, "cache/downloads")) ? readdirSync(join(root.path, "cache/downloads")) : [],
    ).toEqual([]);
  });
});
