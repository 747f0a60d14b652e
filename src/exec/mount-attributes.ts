import type { MountFlag } from "../plan/step.ts";
import {
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
} from "../sys/constants.ts";

const ATTRIBUTES: Readonly<Record<MountFlag, number>> = {
  ro: MOUNT_ATTR_RDONLY,
  nosuid: MOUNT_ATTR_NOSUID,
  nodev: MOUNT_ATTR_NODEV,
  noexec: MOUNT_ATTR_NOEXEC,
  noatime: MOUNT_ATTR_NOATIME,
  nodiratime: MOUNT_ATTR_NODIRATIME,
  relatime: MOUNT_ATTR_RELATIME,
  strictatime: MOUNT_ATTR_STRICTATIME,
};

/** The MOUNT_ATTR_* bits of flags given in words. */
export function mountAttributes(flags: readonly MountFlag[]): number {
  return flags.reduce((bits, flag) => bits | ATTRIBUTES[flag], 0);
}
