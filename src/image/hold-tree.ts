import { BerthError } from "../errors.ts";
import { lockFile, treeLock, unlinkLocked, unlinkShared } from "../exec/lock-file.ts";
import { type Paths, realPath } from "../host/paths.ts";
import { TREES_IN_USE } from "../machine/places.ts";
import { listMachines } from "../machine/record.ts";
import type { FoundImage } from "./discover.ts";

/**
 * Keeps machines from running from an image until it is let go: by its lock in systemd-nspawn's registry, which
 * machines of berth, of other berth roots and of systemd-nspawn take alike.
 * @throws BerthError of kind Busy when one runs from it
 */
export function holdTree({ name, path }: FoundImage, paths: Paths): Disposable {
  // Throw-away copies take no lock of the tree under them.
  const machine = machineOf(name, path, paths);
  if (machine !== undefined) throw inUse(name, `machine ${machine} runs from it`, `berth poweroff ${machine} stops it`);
  const file = treeLock(TREES_IN_USE, path);
  const fd = lockFile(file);
  if (fd === null) throw inUse(name, "a container of systemd-nspawn's, or of another berth root, runs from it");
  return { [Symbol.dispose]: () => unlinkLocked(file, fd) };
}

/** The machine that runs from it. Of one whose record can't be read the name has to do. */
export function machineOf(image: string, path: string, paths: Paths): string | undefined {
  const real = realPath(path);
  return listMachines(paths).find((machine) =>
    machine.state === "unknown" ? machine.name === image : realPath(machine.root) === real,
  )?.name;
}

function inUse(name: string, why: string, hint?: string): BerthError {
  return new BerthError(`image ${name} is in use: ${why}`, { hint, kind: "Busy" });
}

/**
 * Keeps machines from changing a disk image until it is let go: what is read of one meanwhile is of many moments, and
 * no disk any more. Those that only read it go on.
 * @throws BerthError of kind Busy when one may change it
 */
export function shareDisk({ name, path }: Pick<FoundImage, "name" | "path">, paths: Paths): Disposable {
  const file = treeLock(TREES_IN_USE, path);
  const fd = lockFile(file, true);
  if (fd !== null) return { [Symbol.dispose]: () => unlinkShared(file, fd) };
  const machine = machineOf(name, path, paths);
  const what = machine === undefined ? "a machine of somebody else's" : `machine ${machine}`;
  throw inUse(name, `${what} may change it`, machine && `berth poweroff ${machine} stops it`);
}
