import { atLeast, type KernelVersion } from "../kernel.ts";
import type { StoreSurvey } from "../survey.ts";
import { type Check, type Finding, failed, ok, unknown, warning } from "./finding.ts";

/** First kernel with idmapped mounts of each file system: mount_setattr(2). */
const IDMAPPED_SINCE: Readonly<Record<string, KernelVersion>> = {
  ext4: [5, 12],
  xfs: [5, 12],
  vfat: [5, 12],
  btrfs: [5, 15],
  ntfs3: [5, 15],
  f2fs: [5, 18],
  erofs: [5, 19],
  squashfs: [6, 2],
  tmpfs: [6, 3],
  ceph: [6, 7],
};
/** These have none as of 6.18. An overlay's layers can be idmapped, the overlay itself cannot. */
const NEVER_IDMAPPED = new Set(["overlay", "nfs", "nfs4", "cifs", "smb3", "9p", "ramfs", "ecryptfs", "aufs"]);

export const idmappedMounts: Check = ({ kernel: { version, release } }, { stores: { machines } }) => {
  const { fsType, existing } = machines;
  const check = "idmapped mounts";
  if (fsType === null) return unknown(check, `cannot tell which file system ${existing} is on`);
  const since = IDMAPPED_SINCE[fsType];
  const move = "keep machines on ext4, xfs or btrfs: BERTH_MACHINES=DIR";
  const need = "a machine with a user namespace cannot use a tree there";
  if (since !== undefined && atLeast(version, since)) return ok(check, `${existing} is on ${fsType}, which has them`);
  if (since !== undefined) {
    return failed(
      check,
      `${existing} is on ${fsType}, which has none before ${since.join(".")} (this is ${release}): ${need}`,
      move,
    );
  }
  if (NEVER_IDMAPPED.has(fsType)) return failed(check, `${existing} is on ${fsType}, which has none: ${need}`, move);
  return unknown(check, `${existing} is on ${fsType}, which may have none: then ${need}`, move);
};

export const overlay: Check = (_, survey) => {
  if (survey.overlay === "missing") {
    return warning(
      "overlay",
      "this kernel has no overlay: ephemeral machines and instant clones do not work",
      "modprobe overlay",
    );
  }
  return ok("overlay", survey.overlay === "loaded" ? "available" : "a module, loaded when first used");
};

export const machinesDirectory: Check = (_, { stores: { machines }, euid }) =>
  directory("machines directory", machines, euid);
export const cacheDirectory: Check = (_, { stores: { cache }, euid }) => directory("cache directory", cache, euid);

function directory(check: string, store: StoreSurvey, euid: number): Finding {
  const { path, existing, mode, owner } = store;
  if (store.readOnly)
    return failed(check, `${existing} is on a read-only file system`, `mount -o remount,rw ${existing}`);
  if (path !== existing) {
    // Without permission to look, the nearest directory we see says nothing about the one that is meant.
    return euid === 0
      ? space(check, store, `${path} is made when first used`)
      : unknown(check, `${path} cannot be seen`);
  }
  if (owner !== null && owner !== 0) {
    return warning(
      check,
      `${path} belongs to user ${owner}, who can replace what root runs`,
      `chown root:root ${path}`,
    );
  }
  if (mode !== null && (mode & 0o077) !== 0) {
    const shown = mode.toString(8).padStart(4, "0");
    const detail = `${path} is open to others (${shown}): set-user-ID programs of a tree are within reach of every user`;
    return warning(check, detail, `chmod 0700 ${path}`);
  }
  return space(check, store, path);
}

const GIB = 2 ** 30;
/** A Debian with systemd takes some 0.3 GiB and 10000 inodes. */
const LITTLE = { bytes: 2 * GIB, inodes: 50_000 };

function space(check: string, { existing, freeBytes, freeInodes }: StoreSurvey, detail: string): Finding {
  if (freeBytes === null) return unknown(check, `${detail}; its free space cannot be seen`);
  const free = `${(freeBytes / GIB).toFixed(1)} GiB free`;
  if (freeBytes < LITTLE.bytes) {
    return warning(check, `${detail}; ${free}: little more than one tree`, `make room in ${existing}`);
  }
  if (freeInodes !== null && freeInodes < LITTLE.inodes) {
    return warning(check, `${detail}; ${free}, but ${freeInodes} inodes only`, `remove files from ${existing}`);
  }
  return ok(check, `${detail}; ${free}`);
}
