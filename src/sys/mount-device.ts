import { readSync } from "node:fs";
import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
} from "./constants.ts";
import { SysError } from "./errno.ts";
import { closeQuietly } from "./files.ts";
import { ARCH, bind, bindThreaded, check, failure } from "./libc.ts";
import { syscallNumber } from "./syscall-numbers.ts";

const FSCONFIG = "long syscall(long number, int fd, uint command, const char *name, const char *value, int aux)";
const fsopenCall = bind("long syscall(long number, const char *type, uint flags)");
const fsconfigCall = bind(FSCONFIG);
const fsconfigSlowly = bindThreaded(FSCONFIG);
const fsmountCall = bind("long syscall(long number, int fd, uint flags, uint attributes)");

/** Whether the kernel has it, or a module of it. */
export function knowsFileSystem(type: string): boolean {
  const context = fsopenCall(syscallNumber("fsopen", ARCH), type, FSOPEN_CLOEXEC);
  if (context >= 0) closeQuietly(context);
  return context >= 0;
}

const REASON_MAX = 1024;

/** An option of mount(8): a word, or a name and a value. */
export type MountOption = readonly [name: string, value?: string];

/** A file system on a block device could not be mounted. */
export class MountError extends SysError {
  /** What the kernel itself says of it, if anything. */
  readonly reasons: readonly string[];

  constructor(errno: number, path: string, reasons: readonly string[]) {
    super("mount", errno, { path });
    this.reasons = reasons;
  }
}

export interface DeviceMount {
  readonly type: string;
  /** Path of the block device. */
  readonly device: string;
  readonly options: readonly MountOption[];
  /** MOUNT_ATTR_* to set. */
  readonly attributes: number;
}

/**
 * Mounts a block device, detached. By another thread, since a journal may have to be replayed.
 * @throws MountError; SysError (ENODEV) where the kernel has no such file system
 */
export async function mountDevice(mount: DeviceMount): Promise<number> {
  const context = configure(mount);
  try {
    await fsconfigSlowly("fsconfig", {}, FSCONFIG_NUMBER, context, FSCONFIG_CMD_CREATE, null, null, 0).catch(
      (error) => {
        throw error instanceof SysError ? fault(mount, context, error.errno) : error;
      },
    );
    return mounted(mount, context);
  } finally {
    closeQuietly(context);
  }
}

/** The same at once: for what has nothing to be replayed. */
export function mountDeviceNow(mount: DeviceMount): number {
  const context = configure(mount);
  try {
    if (fsconfigCall(FSCONFIG_NUMBER, context, FSCONFIG_CMD_CREATE, null, null, 0) < 0)
      throw fault(mount, context, failure("fsconfig").errno);
    return mounted(mount, context);
  } finally {
    closeQuietly(context);
  }
}

const FSCONFIG_NUMBER = syscallNumber("fsconfig", ARCH);

function configure(mount: DeviceMount): number {
  const { type, device, options } = mount;
  const context = check(fsopenCall(syscallNumber("fsopen", ARCH), type, FSOPEN_CLOEXEC), "fsopen", { path: type });
  for (const [name, value = null] of [["source", device], ...options] as const) {
    const command = value === null ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (fsconfigCall(FSCONFIG_NUMBER, context, command, name, value, 0) >= 0) continue;
    const error = fault(mount, context, failure("fsconfig").errno);
    closeQuietly(context);
    throw error;
  }
  return context;
}

function mounted({ device, attributes }: DeviceMount, context: number): number {
  const mount = fsmountCall(syscallNumber("fsmount", ARCH), context, FSMOUNT_CLOEXEC, attributes);
  return check(mount, "fsmount", { path: device });
}

function fault({ device }: DeviceMount, context: number, errno: number): MountError {
  return new MountError(errno, device, readReasons(context));
}

/** Lines like `e ext4: Unknown parameter`, until there are no more (ENODATA). */
function readReasons(context: number): readonly string[] {
  const reasons: string[] = [];
  const line = Buffer.alloc(REASON_MAX);
  for (;;) {
    try {
      reasons.push(line.toString("utf8", 0, readSync(context, line)).replace(/^[ewi] /, ""));
    } catch {
      return reasons;
    }
  }
}
