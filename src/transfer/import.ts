import { fstatSync } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { copyTree } from "../image/copy-tree.ts";
import type { Driver } from "../image/driver.ts";
import type { Beside } from "../image/make.ts";
import type { ImageStore } from "../image/store.ts";
import { openArchive } from "./archive-input.ts";
import { extractArchive } from "./extract.ts";
import { guardSpace, tellFull } from "./free-space.ts";
import { liftOsTree } from "./os-tree.ts";
import type { Control } from "./transfer.ts";
import type { NewImage } from "./transfers.ts";

/** ms between two looks at how far it is. */
const LOOK = 200;

/** An image of the archive that is open at `fd`. @throws BerthError; nothing is left then */
export async function importTar(store: ImageStore, fd: number, image: NewImage, control: Control): Promise<void> {
  const { signal, log } = control;
  const making = { ...image, signal };
  await tellFull(store.paths.machines, () =>
    store.make(making, (workspace, driver, beside) => unpackInto(workspace, driver, fd, control, beside)),
  );
  log(`${image.name} is complete`);
}

/** Unpacks into a new directory of the workspace; returns the tree in it. */
export async function unpackInto(
  workspace: string,
  driver: Driver,
  fd: number,
  { signal, progress, log }: Control,
  beside: Beside,
): Promise<string> {
  const directory = join(workspace, "tree");
  driver.create(directory);
  const input = await openArchive(fd, signal);
  log(`unpacking, compression: ${input.compression.name}`);
  const looking = setInterval(() => progress(input.fraction() ?? 0), LOOK);
  try {
    await extractArchive(input, directory, { signal, beside, onLine: (line) => log(line, 4) });
  } finally {
    clearInterval(looking);
  }
  progress(1);
  await liftOsTree(directory, signal);
  return directory;
}

/** An image of a copy of the directory that is open at `fd`, without what is mounted below it. */
export async function importDirectory(store: ImageStore, fd: number, image: NewImage, control: Control): Promise<void> {
  const { signal, log, progress } = control;
  const source = `/proc/${process.pid}/fd/${fd}`;
  await refuseStoreInside(fd, store.paths.machines);
  await store.make({ ...image, signal }, async (workspace, driver) => {
    const directory = join(workspace, "tree");
    driver.create(directory);
    const options = { oneFileSystem: true, progress };
    await guardSpace(workspace, signal, (either) => copyTree(`${source}/.`, directory, either, options));
    await liftOsTree(directory, signal);
    return directory;
  });
  log(`${image.name} is complete`);
}

/** By what directories are: at its path, if it has one here at all, may be another where the fd comes from another mount namespace. */
async function refuseStoreInside(fd: number, machines: string): Promise<void> {
  const source = fstatSync(fd);
  const store = await realpath(machines).catch(() => machines);
  for (let at = store; ; at = dirname(at)) {
    const directory = await stat(at).catch(() => null);
    if (directory?.dev === source.dev && directory.ino === source.ino)
      throw new BerthError(`${at} holds the store of images itself`, { hint: `${store} would be copied into itself` });
    if (at === dirname(at)) return;
  }
}
