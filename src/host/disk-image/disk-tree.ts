import { accessSync, constants, existsSync } from "node:fs";
import { BerthError, errorCode } from "../../errors.ts";
import type { DiskMount } from "../../plan/disk-part.ts";
import type { FileSystemFacts, StorageFacts } from "../../plan/facts.ts";
import { visible } from "../../spec/quote.ts";
import { closeQuietly } from "../../sys/files.ts";
import { knowsFileSystem } from "../../sys/mount-device.ts";
import { moveMountInto } from "../../sys/mounts.ts";
import { InRoot } from "../in-root.ts";
import type { OpenTree, PartitionView } from "../open-tree.ts";
import { type DiskLayout, layoutOf, type Mounted, OPTIONAL } from "./layout.ts";
import { mountPart } from "./mount-part.ts";
import { readDisk } from "./read-table.ts";
import type { DiskTable } from "./table.ts";

/** The tree of a disk image, mounted read-only and as it is on the disk. @throws BerthError */
export async function openDiskTree(image: string): Promise<DiskTree> {
  if (process.geteuid?.() !== 0)
    throw new BerthError(`${visible(image)} can be looked into by root only: it is a disk image`, {
      hint: "run this as root",
      kind: "AccessDenied",
    });
  refuseVerity(image);
  const { disk, table } = await readDisk(image);
  const layout = layoutOf(disk, table);
  const root = await mountPart(image, layout.root, "read-only");
  try {
    await addUsr(image, layout, root);
    return new DiskTree(image, layout, root, table);
  } catch (error) {
    closeQuietly(root);
    throw error;
  }
}

/** What systemd-nspawn takes from there berth does not have, and who put it there counts on it. */
function refuseVerity(image: string): void {
  const hash = image.replace(/\.raw$/, ".roothash");
  if (hash === image || !existsSync(hash)) return;
  throw new BerthError(`${visible(hash)} asks for dm-verity, which berth does not set up`, {
    hint: "without that file the image is mounted as it is",
    kind: "NotSupported",
  });
}

export class DiskTree implements OpenTree {
  readonly storage: Extract<StorageFacts, { kind: "disk" }>;
  readonly partitions: readonly PartitionView[];
  readonly #image: string;
  readonly #layout: DiskLayout;
  readonly #root: number;

  constructor(image: string, layout: DiskLayout, root: number, table: DiskTable) {
    this.#image = image;
    this.#layout = layout;
    this.#root = root;
    this.storage = { kind: "disk", root: layout.root, mounts: mountsOf(layout, this.path) };
    const targets = new Map([
      [layout.root.number, "/"],
      ...this.storage.mounts.map(({ number, target }) => [number, target] as const),
    ]);
    this.partitions = viewsOf(table, targets);
  }

  get path(): string {
    return `/proc/${process.pid}/fd/${this.#root}`;
  }

  get roots(): readonly string[] {
    return [this.path];
  }

  fileSystem(): FileSystemFacts {
    const { fsType, readOnly } = this.#layout.root;
    return { fsType, readOnly: readOnly || !canBeWritten(this.#image) };
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#root);
  }
}

function viewsOf({ partitions }: DiskTable, targets: ReadonlyMap<number | null, string>): readonly PartitionView[] {
  return partitions.map(({ number, label, size, content }) => ({
    ...{ number, label, size },
    fileSystem: content?.type ?? null,
    mountedOn: targets.get(number) ?? null,
  }));
}

function canBeWritten(image: string): boolean {
  try {
    accessSync(image, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The init is in it, and what the tree is called. */
async function addUsr(image: string, { others }: DiskLayout, root: number): Promise<void> {
  const usr = others.get("usr");
  if (usr === undefined) return;
  const mount = await mountPart(image, usr, "read-only");
  try {
    moveMountInto(mount, root, "usr");
  } catch (error) {
    throw new BerthError(
      `partition ${usr.number} of ${visible(image)} can't be mounted on its /usr: ${errorCode(error)}`,
      {
        hint: "a /usr of its own needs Linux 6.15, and a directory of that name in the root partition",
        cause: error,
      },
    );
  } finally {
    closeQuietly(mount);
  }
}

const TARGETS: Readonly<Partial<Record<Mounted, string>>> = {
  ...{ usr: "/usr", home: "/home", srv: "/srv", var: "/var", tmp: "/var/tmp" },
};

/** As systemd-nspawn: boot loaders' partitions where there is an empty directory for them. */
function mountsOf({ others }: DiskLayout, path: string): readonly DiskMount[] {
  const root = new InRoot(path);
  try {
    const taken = new Set<string>();
    return [...others].flatMap(([purpose, part]) => {
      if (OPTIONAL.has(purpose) && !knowsFileSystem(part.fsType)) return [];
      const target = TARGETS[purpose] ?? bootTarget(root, purpose, taken);
      if (target === undefined) return [];
      taken.add(target);
      return [{ ...part, purpose, target }];
    });
  } finally {
    root.close();
  }
}

function bootTarget(root: InRoot, purpose: Mounted, taken: ReadonlySet<string>): string | undefined {
  if (purpose === "xbootldr") return root.resolve("/boot")?.type === "directory" ? "/boot" : undefined;
  return ["/efi", "/boot"].find((path) => !taken.has(path) && root.isEmptyDirectory(path));
}
