import { describe, expect, test } from "vitest";
import { splitRemote } from "../../../src/transfer/remote-name.ts";
import { addressOf, architectureNamed, imagesIn, listsIn, selectImage } from "../../../src/transfer/simplestreams.ts";
import { render, templatesIn } from "../../../src/transfer/templates.ts";

const sum = (digit: string): string => digit.repeat(64);

interface Item {
  readonly [key: string]: unknown;
}

const META: Item = {
  ftype: "incus.tar.xz",
  path: "images/a/incus.tar.xz",
  sha256: sum("1"),
  size: 1000,
  combined_rootxz_sha256: sum("a"),
  combined_squashfs_sha256: sum("b"),
};
const TAR: Item = { ftype: "root.tar.xz", path: "images/a/rootfs.tar.xz", sha256: sum("2"), size: 5000 };
const SQUASHFS: Item = { ftype: "squashfs", path: "images/a/rootfs.squashfs", sha256: sum("3"), size: 4000 };
const DISK: Item = { ftype: "disk-kvm.img", path: "images/a/disk.qcow2", sha256: sum("4"), size: 9000 };

function product(items: readonly Item[], more: object = {}): object {
  const versions = {
    "20260101_0000": { items: Object.fromEntries(items.map((item) => [String(item["ftype"]), item])) },
  };
  return {
    aliases: "alpine/3.20,alpine/3.20/default",
    arch: "amd64",
    os: "Alpine",
    release_title: "3.20",
    versions,
    ...more,
  };
}

const found = (...items: readonly Item[]) => imagesIn({ products: { one: product(items) } });

describe("images of a list", () => {
  test("are of a tree in an archive before one in a file system; what is for virtual machines is none", () => {
    expect(found(META, DISK, SQUASHFS, TAR)).toEqual([
      {
        ...{ architecture: "amd64", aliases: ["alpine/3.20", "alpine/3.20/default"], serial: "20260101_0000" },
        ...{ description: "Alpine 3.20 amd64", format: "tar", fingerprint: sum("a") },
        metadata: { path: "images/a/incus.tar.xz", sha256: sum("1"), size: 1000 },
        root: { path: "images/a/rootfs.tar.xz", sha256: sum("2"), size: 5000 },
      },
    ]);
    expect(found(META, SQUASHFS)).toMatchObject([{ format: "squashfs", fingerprint: sum("b") }]);
    expect(
      found({ ...META, ftype: "lxd.tar.xz", combined_rootxz_sha256: "", combined_sha256: sum("c") }, TAR),
    ).toMatchObject([{ format: "tar", fingerprint: sum("c") }]);
    expect(found({ ...TAR, ftype: "incus_combined.tar.gz" })).toMatchObject([
      { format: "combined", fingerprint: sum("2"), metadata: null },
    ]);
    expect(found(META, DISK)).toEqual([]);
    expect(found(TAR)).toEqual([]);
  });

  test("are the newest versions that are whole", () => {
    const items = { meta: META, root: TAR };
    const of = (versions: object): unknown => imagesIn({ products: { one: product([], { versions }) } })[0]?.serial;
    const older = { "20260101_0000": { items }, "20260102_0000": { items } };
    expect(of(older)).toBe("20260102_0000");
    expect(of({ ...older, "20260103_0000": { items: { meta: META } } })).toBe("20260102_0000");
    expect(of({ ...older, latest: { items }, "20269999\u001b": { items } })).toBe("20260102_0000");
  });

  test.each<[string, Item]>([
    ["a path that leads up", { path: "../../etc/passwd" }],
    ["a path that leads up in its middle", { path: "images/../../x" }],
    ["an absolute path", { path: "/etc/passwd" }],
    ["another server", { path: "https://elsewhere.invalid/x" }],
    ["another server without a scheme", { path: "//elsewhere.invalid/x" }],
    ["a query", { path: "images/x?y" }],
    ["control characters", { path: "images/\u001b[1m" }],
    ["no path", { path: undefined }],
    ["a path that is none", { path: { length: 3 } }],
    ["a checksum that is none", { sha256: "z".repeat(64) }],
    ["another kind of checksum", { sha256: "1".repeat(32) }],
    ["no size", { size: undefined }],
    ["a size as text", { size: "5000" }],
    ["a size below nothing", { size: -1 }],
    ["a size of no bytes", { size: 0.5 }],
    ["a size beyond all disks", { size: 2 ** 53 }],
  ])("with %s are none", (_, wrong) => {
    expect(found(META, { ...TAR, ...wrong })).toEqual([]);
    expect(found({ ...META, ...wrong }, TAR)).toEqual([]);
  });

  test.each([
    null,
    1,
    "x",
    [],
    {},
    { products: [] },
    { products: { a: null, b: [], c: { versions: { "20260101": 1 } } } },
  ])("in %j are none", (value) => {
    expect(imagesIn(value)).toEqual([]);
    expect(listsIn(value)).toEqual([]);
  });

  test("have aliases that could be some, and no prototype's fields", () => {
    const list = JSON.parse(
      JSON.stringify({
        products: { "__proto__!": product([META, TAR], { aliases: "ok,a b,\u001b[1m,x/y, z " }) },
      }).replace("__proto__!", "__proto__"),
    );
    expect(imagesIn(list)[0]?.aliases).toEqual(["ok", "x/y", "z"]);
    expect(imagesIn({ products: { one: product([META, TAR], { arch: "constructor!" }) } })).toEqual([]);
  });
});

test("an index names its lists of images, below the server", () => {
  const entry = (more: object) => ({ datatype: "image-downloads", path: "streams/v1/images.json", ...more });
  const index = { a: entry({}), b: entry({ datatype: "other" }), c: entry({ path: "../x" }), d: 1 };
  expect(listsIn({ index })).toEqual(["streams/v1/images.json"]);
  expect(addressOf(new URL("https://h/base/"), "images/2026_13:00/a b").href).toBe(
    "https://h/base/images/2026_13%3A00/a%20b",
  );
});

describe("a name", () => {
  const at = (aliases: string, arch: string, digit: string, serial = "20260101_0000") => ({
    ...{
      architecture: arch,
      aliases: aliases.split(","),
      description: "",
      serial,
      metadata: null,
      format: "tar" as const,
    },
    ...{ fingerprint: sum(digit), root: { path: "x", sha256: sum("0"), size: 1 } },
  });
  const images = [
    at("debian/12,debian/bookworm", "amd64", "1"),
    at("debian/12,debian/bookworm", "arm64", "2"),
    at("debian/12/cloud", "amd64", "3"),
    at("alpine/3.20", "s390x", "4"),
  ];
  test.each([
    ["debian/12", "amd64", "1"],
    ["debian/bookworm", "arm64", "2"],
    ["debian/12/arm64", "amd64", "2"],
    ["debian/12/cloud", "amd64", "3"],
    ["debian/12/cloud/amd64", "arm64", "3"],
    [sum("4").slice(0, 12), "amd64", "4"],
  ])("%s for %s", (name, arch, digit) => {
    expect(selectImage(images, "images", name, arch).fingerprint).toBe(sum(digit));
  });

  test.each([
    ["alpine/3.20", '"alpine/3.20" is not there for amd64', "--arch: s390x"],
    ["debian", 'the server has no image "debian"', "there are debian/12, debian/bookworm, debian/12/cloud"],
    ["debian/21", 'the server has no image "debian/21"', "did you mean debian/12?"],
    ["\u001b[1m", 'the server has no image "\\u{1b}[1m"', "berth list-images images: lists them"],
  ])("%s is told what there is", (name, message, hint) => {
    expect(() => selectImage(images, "images", name, "amd64")).toThrow(expect.objectContaining({ message, hint }));
  });

  test("of several fingerprints is none", () => {
    const twins = [at("a", "amd64", "5"), { ...at("b", "amd64", "5"), fingerprint: `${"5".repeat(63)}6` }];
    expect(() => selectImage(twins, "images", "55555555", "amd64")).toThrow(
      "2 images have fingerprints that begin with 55555555",
    );
  });
});

test("what a remote's image is called, and what is none", () => {
  expect(splitRemote("images:debian/12")).toEqual({ remote: "images", name: "debian/12" });
  expect(splitRemote("images:")).toEqual({ remote: "images", name: "" });
  for (const none of ["debian/12", "https://x/y", ":x", "../x:y", ""]) expect(splitRemote(none)).toBeUndefined();
  expect(["x64", "aarch64", "riscv64", "constructor", "z80"].map(architectureNamed)).toEqual([
    "amd64",
    "arm64",
    "riscv64",
    undefined,
    undefined,
  ]);
});

test("templates are found in what distrobuilder writes, and rendered where they ask for the name alone", () => {
  const metadata = `architecture: x86_64
properties:
  name: alpine
templates:
  /etc/hostname:
    when:
    - create
    template: hostname.tpl
    properties: {}
  "/etc/hosts":
    template: "hosts.tpl"
  /etc/evil:
    template: ../../etc/passwd
other: 1
  /no:
    template: no.tpl
`;
  expect(templatesIn(metadata)).toEqual([
    { path: "/etc/hostname", file: "hostname.tpl" },
    { path: "/etc/hosts", file: "hosts.tpl" },
  ]);
  const odd = "templates:\n    /etc/hosts:\n        template: a.tpl\n    /etc/x@y:\n        template: b.tpl\n";
  expect(templatesIn(odd), "not that of another one").toEqual([{ path: "/etc/hosts", file: "a.tpl" }]);
  const twice = `${odd}    /etc/hosts:\n        template: c.tpl\n        template: d.tpl\n`;
  expect(templatesIn(twice)).toEqual([{ path: "/etc/hosts", file: "d.tpl" }]);
  expect(templatesIn("{templates: {}}")).toEqual([]);
  expect(render("127.0.1.1 {{ container.name }} {{instance.name}}\n", "web")).toBe("127.0.1.1 web web\n");
  expect(render("x".repeat(65_537), "web")).toBeUndefined();
  expect(render("{{instance.name}}".repeat(2000), "n".repeat(60))).toBeUndefined();
  expect(render("{% if x %}{% endif %}", "web")).toBeUndefined();
  expect(render("{{ config_get('a') }}", "web")).toBeUndefined();
});
