import { closeSync, constants, openSync } from "node:fs";
import { basename } from "node:path";
import { BerthError, errorCode } from "../../errors.ts";
import type { DiskAccess, DiskPart } from "../../plan/disk-part.ts";
import { printable, visible } from "../../spec/quote.ts";
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY } from "../../sys/constants.ts";
import { SysError } from "../../sys/errno.ts";
import { attachLoop, type LoopDevice } from "../../sys/loop.ts";
import { type DeviceMount, MountError, type MountOption, mountDevice, mountDeviceNow } from "../../sys/mount-device.ts";

/** What is to be so whatever is written in the file system itself, whose maker is not trusted. */
const ALWAYS: Readonly<Record<string, readonly MountOption[]>> = {
  // An error in it must not be the host's end.
  ext4: [["errors", "remount-ro"]],
  // Copies of an image have the same id.
  xfs: [["nouuid"]],
  vfat: [
    ["errors", "remount-ro"],
    ["umask", "0077"],
    ["shortname", "mixed"],
  ],
};
/** What is removed in it takes no room in the image any more. */
const WRITABLE: Readonly<Record<string, readonly MountOption[]>> = {
  ext4: [["discard"]],
  xfs: [["discard"]],
  btrfs: [["discard", "async"]],
};
/** Whatever is left to do in the journal, it is as it is. */
const UNTOUCHED: Readonly<Record<string, readonly MountOption[]>> = {
  ext4: [["noload"]],
  xfs: [["norecovery"]],
  btrfs: [["rescue", "nologreplay"]],
};

/** Mounts it, detached: it goes with the fd that this is, and the loop device with it. @throws BerthError that says why the kernel does not */
export async function mountPart(image: string, part: DiskPart, access: DiskAccess): Promise<number> {
  using device = attach(image, part, access);
  try {
    return await mountDevice(mountOf(part, access, device));
  } catch (error) {
    throw unmountable(image, part, error);
  }
}

/** The same at once, of what nobody writes to: read-only. */
export function mountPartNow(image: string, part: DiskPart): number {
  using device = attach(image, part, "read-only");
  try {
    return mountDeviceNow(mountOf(part, "read-only", device));
  } catch (error) {
    throw unmountable(image, part, error);
  }
}

function mountOf({ fsType }: DiskPart, access: DiskAccess, { path }: LoopDevice): DeviceMount {
  return {
    type: fsType,
    device: path,
    options: [
      ...(ALWAYS[fsType] ?? []),
      ...(access === "writable" ? (WRITABLE[fsType] ?? []) : [["ro"] as const, ...(UNTOUCHED[fsType] ?? [])]),
    ],
    attributes: MOUNT_ATTR_NODEV | (access === "writable" ? 0 : MOUNT_ATTR_RDONLY),
  };
}

function attach(image: string, { offset, size, number }: DiskPart, access: DiskAccess): LoopDevice {
  const readOnly = access === "read-only";
  let file = -1;
  try {
    file = openSync(image, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    return attachLoop(file, basename(image), { offset, size: number === null ? null : size, readOnly });
  } catch (error) {
    const code = errorCode(error);
    const why = code === undefined ? String(error) : (LOOP_REASONS[code] ?? code);
    throw new BerthError(`cannot open the disk image ${visible(image)}: ${why}`, {
      hint: file >= 0 ? LOOP_HINTS[code ?? ""] : undefined,
      cause: error,
    });
  } finally {
    if (file >= 0) closeSync(file);
  }
}

const LOOP_HINT = "loop devices are needed: /dev/loop-control, and the right to make devices";
const LOOP_HINTS: Readonly<Record<string, string>> = {
  ...{ ENOENT: LOOP_HINT, EPERM: LOOP_HINT, ENXIO: LOOP_HINT, ENODEV: LOOP_HINT },
  ENOSPC: "losetup -a shows what has them",
};
const LOOP_REASONS: Readonly<Record<string, string>> = {
  EROFS: "it is on a read-only file system (EROFS)",
  EPERM: "no loop device can be made here (EPERM)",
  ENODEV: "this kernel has no loop devices (ENODEV)",
  ENOSPC: "no loop device is left (ENOSPC)",
};

const REASONS: Readonly<Record<string, string>> = {
  EINVAL: "it is damaged, or of a kind that this kernel does not know",
  EUCLEAN: "it is damaged",
  EBADMSG: "it is damaged",
  EIO: "reading it failed",
  EROFS: "it has to be repaired, and can't be written to",
  EEXIST: "a file system with the same id is mounted already",
  ENODEV: "this kernel has no such file system",
};

function unmountable(image: string, { number, fsType }: DiskPart, error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  const what = number === null ? `the ${fsType} in` : `partition ${number} (${fsType}) of`;
  const said = error instanceof MountError ? error.reasons.map((line) => printable(line.trim())).join("; ") : "";
  const why = REASONS[error.code] ?? "the kernel refuses it";
  return new BerthError(
    `cannot mount ${what} ${visible(image)}: ${why} (${error.code}${said === "" ? "" : `: ${said}`})`,
    {
      hint: error.code === "ENODEV" ? `modprobe ${fsType}, where the kernel has it as a module` : "dmesg may say more",
      cause: error,
    },
  );
}
