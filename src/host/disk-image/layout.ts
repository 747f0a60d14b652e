import { BerthError } from "../../errors.ts";
import type { DiskPart } from "../../plan/disk-part.ts";
import { visible } from "../../spec/quote.ts";
import { type Purpose, rootArchitecture, typeOf } from "./partition-types.ts";
import { type Content, type DiskTable, PARTITIONS_MAX, type Partition } from "./table.ts";

/** Which partitions of a disk are a machine's, as systemd-nspawn(1) has it for --image=. Pure. */
export interface DiskLayout {
  readonly root: DiskPart;
  /** The others that are for something, by what for; at most one each. */
  readonly others: ReadonlyMap<Mounted, DiskPart>;
}

/** In the order of mounting. */
const MOUNTED = ["usr", "home", "srv", "var", "tmp", "xbootldr", "esp"] as const;
export type Mounted = (typeof MOUNTED)[number];

const TAKEN: ReadonlySet<Purpose> = new Set(["root", ...MOUNTED]);

/** Those without which a machine runs as well: what can't be mounted is left out. */
export const OPTIONAL: ReadonlySet<Mounted> = new Set(["xbootldr", "esp"]);

/** File systems that the kernel may be let loose on, by libblkid's names, and the driver of each. */
const FILE_SYSTEMS: Readonly<Record<string, string>> = {
  ...{ ext2: "ext4", ext3: "ext4", ext4: "ext4", xfs: "xfs", btrfs: "btrfs" },
  ...{ vfat: "vfat", squashfs: "squashfs", erofs: "erofs" },
};
const NEVER_WRITTEN: ReadonlySet<string> = new Set(["squashfs", "erofs"]);

/** Of a partition's flags in a GPT. */
const READ_ONLY = 1n << 60n;
const NO_AUTO = 1n << 63n;
/** The same of the system partition are other things. */
const FLAGLESS: ReadonlySet<Purpose> = new Set(["esp"]);
/** As the specification has it: a place for a version to come. */
const EMPTY_LABEL = "_empty";
const BOOTABLE = 0x80n;
const DOS_LINUX = "0x83";

export interface Disk {
  /** For messages. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly arch: "x64" | "arm64";
}

/** @throws BerthError when there is no root on it that berth could mount */
export function layoutOf(disk: Disk, table: DiskTable): DiskLayout {
  if (table.partitions.length > PARTITIONS_MAX)
    throw refused(disk, `its partition table has more than ${PARTITIONS_MAX} partitions`);
  if (table.scheme === "pmbr") throw refused(disk, "its partition table is damaged", "it may have been cut");
  if (table.scheme === null && table.partitions.length === 0) return bare(disk, table.content);
  const chosen = table.scheme === "gpt" ? chooseGpt(disk, table) : chooseDos(disk, table);
  requireApart(disk, [...chosen.values()]);
  const root = chosen.get("root");
  if (root === undefined) throw refused(disk, "it has no root partition");
  const others = MOUNTED.flatMap((purpose) => {
    const partition = chosen.get(purpose);
    if (partition === undefined || (OPTIONAL.has(purpose) && !isMountable(partition.content))) return [];
    return [[purpose, partOf(disk, partition, purpose)] as const];
  });
  return { root: partOf(disk, root, "root"), others: new Map(others) };
}

/** What something else in the tables that berth lists is for, to show it. */
export function purposeOf({ scheme }: DiskTable, { type }: Partition, arch: Disk["arch"]): Purpose | null {
  if (scheme === "dos") return type === DOS_LINUX ? "linux" : null;
  return typeOf(type, arch)?.purpose ?? null;
}

function bare(disk: Disk, content: Content | null): DiskLayout {
  const whole = { number: null, offset: 0, size: disk.size };
  const fsType = requireFileSystem(disk, content, "it");
  return { root: { ...whole, fsType, readOnly: NEVER_WRITTEN.has(fsType) }, others: new Map() };
}

type Chosen = ReadonlyMap<Purpose, Partition>;

function chooseGpt(disk: Disk, { partitions }: DiskTable): Chosen {
  const best = new Map<Purpose, { readonly partition: Partition; readonly rank: number }>();
  for (const partition of partitions) {
    const type = typeOf(partition.type, disk.arch);
    if (type === null || !TAKEN.has(type.purpose) || !isForUse(partition, type.purpose)) continue;
    const before = best.get(type.purpose);
    if (before === undefined || isBetter(type.purpose, { ...type, partition }, before))
      best.set(type.purpose, { partition, rank: type.rank });
  }
  const chosen = new Map([...best].map(([purpose, { partition }]) => [purpose, partition]));
  if (!chosen.has("root")) chosen.set("root", onlyLinux(disk, partitions, chosen.get("usr")));
  return chosen;
}

function isForUse({ flags, label, size }: Partition, purpose: Purpose): boolean {
  if (size === 0 || label === EMPTY_LABEL) return false;
  return FLAGLESS.has(purpose) || (flags & NO_AUTO) === 0n;
}

type Ranked = { readonly partition: Partition; readonly rank: number };

/** The processor's own; then, of versions side by side, the newest; else the first. */
function isBetter(purpose: Purpose, one: Ranked, other: Ranked): boolean {
  if (one.rank !== other.rank) return one.rank < other.rank;
  if (purpose !== "root" && purpose !== "usr") return false;
  return compareVersions(one.partition.label, other.partition.label) > 0;
}

function compareVersions(one: string, other: string): number {
  return new Intl.Collator("en", { numeric: true }).compare(one, other);
}

function onlyLinux(disk: Disk, partitions: readonly Partition[], usr: Partition | undefined): Partition {
  const linux = partitions.filter(
    (partition) => typeOf(partition.type, disk.arch)?.purpose === "linux" && isForUse(partition, "linux"),
  );
  const [only, ...more] = linux;
  if (only !== undefined && more.length === 0) return only;
  const list = linux.map(({ number }) => number).join(", ");
  if (only !== undefined)
    throw refused(disk, `it has no partition of the root type, and several others that could be it: ${list}`, RETYPE);
  const foreign = partitions
    .filter(({ type }) => typeOf(type, disk.arch) === null)
    .map(({ type }) => rootArchitecture(type))
    .find((arch) => arch !== undefined);
  if (foreign !== undefined) throw refused(disk, `its root partition is for ${foreign}`);
  if (usr !== undefined)
    throw refused(
      disk,
      `it has a /usr partition (${usr.number}) and no root`,
      "an image of /usr alone starts no machine",
    );
  throw refused(disk, "it has no root partition", RETYPE);
}

const RETYPE = "sfdisk --part-type gives a partition the type of a root (systemd-id128 show has them)";

function chooseDos(disk: Disk, { partitions }: DiskTable): Chosen {
  const linux = partitions.filter(({ type, size }) => type === DOS_LINUX && size > 0);
  const bootable = linux.filter(({ flags }) => flags === BOOTABLE);
  const [only, ...more] = bootable.length > 0 ? bootable : linux;
  if (only === undefined) throw refused(disk, "it has no partition of type 83 (Linux)");
  if (more.length > 0)
    throw refused(disk, `its root can be one of partitions ${[only, ...more].map(({ number }) => number).join(", ")}`);
  return new Map([["root", only]]);
}

function partOf(disk: Disk, partition: Partition, purpose: Purpose): DiskPart {
  const { number, offset, size, flags } = partition;
  const name = `its ${purpose === "linux" ? "root" : purpose} partition (${number})`;
  const end = offset + size;
  if (!Number.isSafeInteger(end) || end > disk.size)
    throw refused(disk, `${name} ends beyond the end of the image`, "it may have been cut");
  const fsType = requireFileSystem(disk, partition.content, name);
  const flagged = !FLAGLESS.has(purpose) && (flags & READ_ONLY) !== 0n;
  return { number, offset, size, fsType, readOnly: flagged || NEVER_WRITTEN.has(fsType) };
}

/** What the kernel would write twice to it would ruin. */
function requireApart(disk: Disk, partitions: readonly Partition[]): void {
  const sorted = partitions.toSorted((a, b) => a.offset - b.offset);
  for (const [index, partition] of sorted.entries()) {
    const next = sorted[index + 1];
    if (partition.offset < SECTOR) throw refused(disk, `partition ${partition.number} lies on the partition table`);
    if (next !== undefined && partition.offset + partition.size > next.offset)
      throw refused(disk, `partitions ${partition.number} and ${next.number} overlap`);
  }
}

const SECTOR = 512;

function isMountable(content: Content | null): boolean {
  return content !== null && Object.hasOwn(FILE_SYSTEMS, content.type);
}

function requireFileSystem(disk: Disk, content: Content | null, what: string): string {
  const driver = content !== null && isMountable(content) ? FILE_SYSTEMS[content.type] : undefined;
  if (driver !== undefined) return driver;
  if (content === null) throw refused(disk, `${what} has no file system that is known`, "it may be damaged");
  if (content.type === "crypto_LUKS" || content.type === "BitLocker")
    throw refused(disk, `${what} is encrypted (${content.type}), and berth opens nothing that is`, DECRYPT);
  if (content.type === "DM_verity_hash")
    throw refused(disk, `${what} is hashes for dm-verity, which berth does not set up`);
  const known = [...new Set(Object.values(FILE_SYSTEMS))].join(", ");
  throw refused(disk, `${what} is of type ${visible(content.type)}, which berth does not mount`, `it mounts ${known}`);
}

const DECRYPT = "cryptsetup open makes a device of it, which --image= takes";

function refused({ path }: Disk, why: string, hint?: string): BerthError {
  return new BerthError(`${visible(path)} can't be used as a disk image: ${why}`, { hint });
}
