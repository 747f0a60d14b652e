import { BerthError } from "../errors.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";

/**
 * What an image server of LXC's or Incus's says it has (simplestreams: streams/v1/index.json, and the lists of products that
 * it names). All of it is somebody else's text: what does not have the shape that is meant is no image.
 */

/** A file, by its path below the server's address. */
export interface RemoteFile {
  readonly path: string;
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

export interface RemoteImage {
  /** SHA-256 of metadata and root together, as Incus shows it. */
  readonly fingerprint: string;
  /** As Debian calls them: amd64. */
  readonly architecture: string;
  readonly aliases: readonly string[];
  readonly description: string;
  /** The version of it: a date and a time. */
  readonly serial: string;
  /** Null: all is in one archive. */
  readonly metadata: RemoteFile | null;
  readonly root: RemoteFile;
  readonly format: RootFormat;
}

/** A tree in an archive, one below rootfs/ in an archive with the metadata, or a file system. */
export type RootFormat = "tar" | "combined" | "squashfs";

/** Paths of the lists of images in an index. */
export function listsIn(index: unknown): readonly string[] {
  return entriesOf(field(index, "index")).flatMap(([, entry]) => {
    const path = textOf(entry, "path");
    return textOf(entry, "datatype") === "image-downloads" && isBelow(path) ? [path] : [];
  });
}

/** The newest version of each product that a machine can be made of. */
export function imagesIn(products: unknown): readonly RemoteImage[] {
  return entriesOf(field(products, "products")).flatMap(([, product]) => {
    const versions = entriesOf(field(product, "versions"))
      .filter(([serial]) => /^\d{8}[\w.:-]{0,40}$/.test(serial))
      .sort(([a], [b]) => (a < b ? 1 : -1));
    for (const [serial, version] of versions) {
      const image = imageOf(product, serial, field(version, "items"));
      if (image !== undefined) return [image];
    }
    return [];
  });
}

function imageOf(product: unknown, serial: string, items: unknown): RemoteImage | undefined {
  const architecture = textOf(product, "arch");
  const files = filesIn(entriesOf(items).map(([, item]) => item));
  if (files === undefined || !/^[a-z0-9_]{1,20}$/.test(architecture)) return undefined;
  const words = [textOf(product, "os"), textOf(product, "release_title") || textOf(product, "release"), architecture];
  return {
    ...{ ...files, architecture, serial, description: words.join(" ").trim() },
    aliases: textOf(product, "aliases")
      .split(",")
      .map((alias) => alias.trim())
      .filter((alias) => /^[\w.+/-]{1,100}$/.test(alias)),
  };
}

type Files = Pick<RemoteImage, "metadata" | "root" | "format" | "fingerprint">;

/** Before a file system an archive, as more hosts can unpack it. Disks of virtual machines, and differences, are left out. */
function filesIn(items: readonly unknown[]): Files | undefined {
  const find = (...types: readonly string[]): unknown => items.find((item) => types.includes(textOf(item, "ftype")));
  const metadata = find("incus.tar.xz", "lxd.tar.xz");
  const roots = [
    ["tar", find("root.tar.xz"), ["combined_rootxz_sha256", "combined_sha256"]],
    ["squashfs", find("squashfs"), ["combined_squashfs_sha256"]],
  ] as const;
  for (const [format, item, keys] of roots) {
    const [meta, root] = [fileOf(metadata), fileOf(item)];
    const fingerprint = keys.map((key) => textOf(metadata, key)).find((text) => SHA256.test(text));
    if (meta !== undefined && root !== undefined && fingerprint !== undefined)
      return { metadata: meta, root, format, fingerprint };
  }
  const root = fileOf(find("incus_combined.tar.gz", "lxd_combined.tar.gz"));
  return root && { metadata: null, root, format: "combined", fingerprint: root.sha256 };
}

const SHA256 = /^[0-9a-f]{64}$/;
/** Bytes; more than any image has. */
const SIZE_MAX = 2 ** 40;

function fileOf(item: unknown): RemoteFile | undefined {
  const [path, sha256, size] = [textOf(item, "path"), textOf(item, "sha256"), field(item, "size")];
  if (!isBelow(path) || !SHA256.test(sha256)) return undefined;
  return typeof size === "number" && Number.isInteger(size) && size > 0 && size <= SIZE_MAX
    ? { path, sha256, size }
    : undefined;
}

/** Of the server's own files: not from above, and from no other server. */
function isBelow(path: string): boolean {
  return /^[\w.:+~@%-][\w.:+~@%/-]{0,500}$/.test(path) && path.split("/").every((part) => !/^\.{0,2}$/.test(part));
}

/** Where a file of a server is. */
export function addressOf(server: URL, path: string): URL {
  const url = new URL(server);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path.split("/").map(encodeURIComponent).join("/")}`;
  return url;
}

/**
 * The image that `name` means: an alias, for the host's architecture or the one at its end, or the beginning of a fingerprint.
 * @throws BerthError that says what there is
 */
export function selectImage(
  images: readonly RemoteImage[],
  remote: string,
  name: string,
  architecture: string,
): RemoteImage {
  const named = images.filter(({ aliases }) => aliases.includes(name));
  const here = named.filter((image) => image.architecture === architecture);
  const exact = images.filter((image) => image.aliases.some((alias) => `${alias}/${image.architecture}` === name));
  const [found] = [...here, ...exact].sort(newestFirst);
  if (found !== undefined) return found;
  if (named.length > 0) {
    const others = [...new Set(named.map((image) => image.architecture))].sort().join(", ");
    throw new BerthError(`${quote(name)} is not there for ${architecture}`, { hint: `--arch: ${others}` });
  }
  return byFingerprint(images, remote, name);
}

function byFingerprint(images: readonly RemoteImage[], remote: string, name: string): RemoteImage {
  const found = /^[0-9a-f]{8,64}$/.test(name) ? images.filter(({ fingerprint }) => fingerprint.startsWith(name)) : [];
  const [first] = found;
  // One image may be there as several products.
  if (first !== undefined && found.every(({ fingerprint }) => fingerprint === first.fingerprint)) return first;
  if (first !== undefined)
    throw new BerthError(`${found.length} images have fingerprints that begin with ${name}`, {
      hint: "give more of it",
    });
  const aliases = [...new Set(images.flatMap((image) => image.aliases))];
  const near = aliases.filter((alias) => alias.startsWith(`${name}/`)).slice(0, NEAR);
  throw new BerthError(`the server has no image ${quote(name)}`, {
    hint:
      near.length > 0
        ? `there are ${near.join(", ")}`
        : (suggest(name, aliases) ?? `berth list-images ${remote}: lists them`),
  });
}

const NEAR = 6;

function newestFirst(a: RemoteImage, b: RemoteImage): number {
  return a.serial < b.serial ? 1 : -1;
}

/** What an architecture of ours is called there: by Node, the kernel or Debian. Undefined: none. */
export function architectureNamed(name: string): string | undefined {
  const names: Readonly<Record<string, string>> = {
    ...{ x64: "amd64", x86_64: "amd64", aarch64: "arm64", ia32: "i386", i686: "i386", armv7l: "armhf", arm: "armhf" },
    ...{ ppc64le: "ppc64el", ppc64: "ppc64el" },
  };
  const found = Object.hasOwn(names, name) ? names[name] : name;
  return ["amd64", "arm64", "armhf", "armel", "i386", "ppc64el", "s390x", "riscv64"].find((each) => each === found);
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
}

function textOf(value: unknown, key: string): string {
  const text = field(value, key);
  return typeof text === "string" ? text : "";
}

function entriesOf(value: unknown): readonly (readonly [string, unknown])[] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}
