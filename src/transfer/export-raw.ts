import { closeSync, fstatSync, openSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { runCommand } from "../host/command.ts";
import { runConfined } from "../host/confine.ts";
import { shareDisk } from "../image/hold-tree.ts";
import type { ImageStore } from "../image/store.ts";
import { offsetOf } from "../sys/files.ts";
import { type Compression, commandOf } from "./compression.ts";
import type { Control } from "./transfer.ts";

/** ms between two looks at how far it is. */
const LOOK = 200;

/** Arguments: the packer. It has no rights, and sees nothing but the programs. */
const SCRIPT = `
set +e
as_nobody "$@"
echo "berth-status $?" >&2
`;

/** Writes a disk image to `fd`, while no machine changes it. */
export async function exportRaw(
  store: ImageStore,
  name: string,
  fd: number,
  { pack, name: format }: Compression,
  { signal, progress, log }: Control,
): Promise<void> {
  await store.read(name, async ({ path, type }) => {
    if (type !== "raw")
      throw new BerthError(`image ${name} is a tree, and no disk image`, {
        hint: `berth export-tar ${name} packs it`,
        kind: "NotSupported",
      });
    using _unchanged = shareDisk({ name, path }, store.paths);
    log(`writing, compression: ${format}`);
    const input = openSync(path, "r");
    const { size } = fstatSync(input);
    const looking = setInterval(() => progress(size === 0 ? 0 : offsetOf(input) / size), LOOK);
    try {
      if (pack.length > 0) await packDisk(name, path, input, fd, commandOf(pack), signal);
      else await copyDisk(name, path, input, fd, signal);
    } finally {
      clearInterval(looking);
      closeSync(input);
    }
    progress(1);
  });
  log(`${name} is complete`);
}

async function packDisk(
  name: string,
  path: string,
  stdin: number,
  stdout: number,
  pack: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const said: string[] = [];
  const { status } = await runConfined(SCRIPT, pack, {
    directory: path,
    isFile: "file",
    writable: false,
    signal,
    stdin,
    stdout,
    onLine: (line) => said.push(line),
  });
  if (said.includes("berth-status 0")) return;
  const why = said.find((line) => !line.startsWith("berth-status ")) ?? status;
  throw new BerthError(`cannot export image ${name}: ${why}`);
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
