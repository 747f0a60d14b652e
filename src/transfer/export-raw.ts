import { closeSync, fstatSync, openSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { runConfinedAlone } from "../host/confine.ts";
import { shareDisk } from "../image/hold-tree.ts";
import type { ImageStore } from "../image/store.ts";
import { offsetOf } from "../sys/files.ts";
import { type Compression, PACKER, programOf } from "./compression.ts";
import type { Control } from "./transfer.ts";

/** ms between two looks at how far it is. */
const LOOK = 200;

/** Writes a disk image to `fd`, while no machine changes it. */
export async function exportRaw(
  store: ImageStore,
  name: string,
  fd: number,
  compression: Compression,
  { signal, progress, log }: Control,
): Promise<void> {
  const pack = programOf(compression, "pack");
  await store.read(name, async ({ path, type }) => {
    if (type !== "raw")
      throw new BerthError(`image ${name} is a tree, and no disk image`, {
        hint: `berth export-tar ${name} packs it`,
        kind: "NotSupported",
      });
    using _unchanged = shareDisk({ name, path }, store.paths);
    log(`writing, compression: ${compression.name}`);
    const input = openSync(path, "r");
    const { size } = fstatSync(input);
    const looking = setInterval(() => progress(size === 0 ? 0 : offsetOf(input) / size), LOOK);
    try {
      if (pack.length > 0) await packDisk(name, pack, input, fd, signal);
      else await copyDisk(name, path, input, fd, signal);
    } finally {
      clearInterval(looking);
      closeSync(input);
    }
    progress(1);
  });
  log(`${name} is complete`);
}

/** The packer has the file open, and sees nothing but the programs. */
async function packDisk(
  name: string,
  pack: readonly string[],
  stdin: number,
  stdout: number,
  signal: AbortSignal,
): Promise<void> {
  const { ok, status, tail } = await runConfinedAlone(pack, PACKER, null, { signal, stdin, stdout });
  if (!ok) throw new BerthError(`cannot export image ${name}: ${tail[0] ?? `the packer ${status}`}`);
}

/** Into a file with the same holes. */
async function copyDisk(name: string, path: string, stdin: number, stdout: number, signal: AbortSignal): Promise<void> {
  const toFile = fstatSync(stdout).isFile() && offsetOf(stdout) === 0;
  const result = toFile
    ? await runCommand("cp", ["--reflink=auto", "--sparse=always", "--", path, `/proc/${process.pid}/fd/${stdout}`], {
        signal,
      })
    : await runCommand("cat", [], { stdin, stdout, signal });
  if (!result.ok) throw new BerthError(`cannot export image ${name}: ${result.tail.at(-1) ?? result.status}`);
}
