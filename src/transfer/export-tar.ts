import { BerthError } from "../errors.ts";
import { runConfined } from "../host/confine.ts";
import { attachDisk } from "../host/disk-image/attach-disk.ts";
import { shareDisk } from "../image/hold-tree.ts";
import { readTree } from "../image/read-tree.ts";
import type { ImageStore } from "../image/store.ts";
import { type Compression, commandOf } from "./compression.ts";
import type { Control } from "./transfer.ts";

/** Of 512 bytes, what tar(1) writes at a time, and fills up at the end: with its usual 20 it takes a fifth more of a processor. */
const BLOCKS = 128;
/** It counts in these. */
const RECORD = BLOCKS * 512;
/** ms after which the tree is counted, to know how far it is: before that nobody has to, and the packer needs the processors. */
const LONG = 1000;
/** ms that this may take. */
const PATIENCE = 30_000;

/**
 * Arguments: the packer, if any. In the order of names, and without the times that only reading changes, so that the same
 * tree gives the same archive; for that also the oldest way to write holes, as the others put a process id into names.
 */
const SCRIPT = `
set +e
exec 4>&1
create() {
  with_capabilities +dac_read_search tar --create --file=- --directory=/tree --blocking-factor=${BLOCKS} --format=posix --sort=name \\
    --sparse --sparse-version=0.0 \\
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --numeric-owner \\
    --acls --xattrs --xattrs-include='user.*' --xattrs-include=security.capability \\
    --quoting-style=escape --checkpoint=100 --checkpoint-action='echo=berth-at %u' .
  echo "tar=$?" >&3
}
pack() {
  as_nobody "$@" >&4
  echo "packer=$?" >&3
}
status=$( {
  if [ "$#" -gt 0 ]; then create | pack "$@"
  else create >&4
  fi
} 3>&1 )
echo berth-status $status >&2
`;

/** Writes the tree of an image to `fd`. A machine may run from it: what changes meanwhile is as it is when it is read. */
export async function exportTar(
  store: ImageStore,
  name: string,
  fd: number,
  { pack, name: format }: Compression,
  { signal, progress, log }: Control,
): Promise<void> {
  await store.read(name, async ({ path, type }) => {
    using stack = new DisposableStack();
    // What a machine changes on a disk meanwhile would be no file system any more.
    if (type === "raw") stack.use(shareDisk({ name, path }, store.paths));
    const disk = type === "raw" ? stack.use(await attachDisk(path)) : null;
    log(`packing, compression: ${format}`);
    let total: number | null = null;
    const counting = setTimeout(() => {
      const count = async (): Promise<void> => {
        await store.measure([name], PATIENCE);
        total = store.get(name).usage;
      };
      count().catch(() => undefined);
    }, LONG);
    stack.defer(() => clearTimeout(counting));
    await using tree = disk === null ? await readTree(store.paths, path, signal) : null;
    let end = "";
    const said: string[] = [];
    const { status } = await runConfined(SCRIPT, commandOf(pack), {
      ...(tree?.confined ?? { directory: "/", mounts: disk?.mounts ?? [] }),
      writable: false,
      signal,
      stdout: fd,
      onLine: (line) => {
        const at = /^tar: berth-at (\d+)$/.exec(line)?.[1];
        if (at !== undefined) {
          if (total !== null) progress(Math.min(1, (Number(at) * RECORD) / total));
        } else if (line.startsWith("berth-status ")) end = line;
        else if (said.length < SAID_MAX) {
          said.push(line);
          log(line, 4);
        }
      },
    });
    const fault = faultOf(end, said, status);
    if (fault !== undefined) throw new BerthError(`cannot export image ${name}: ${fault}`);
    progress(1);
  });
  log(`${name} is complete`);
}

const SAID_MAX = 50;

/** tar(1) ends with 1 where files changed or went while it read them. */
function faultOf(end: string, said: readonly string[], status: string): string | undefined {
  const [, tar] = /\btar=(\d+)/.exec(end) ?? [];
  const [, packer] = /\bpacker=(\d+)/.exec(end) ?? [];
  if (tar === undefined) return said.at(-1) ?? status;
  if (packer !== undefined && packer !== "0")
    return said.find((line) => !line.startsWith("tar: ")) ?? `the packer ended with status ${packer}`;
  if (Number(tar) > 1)
    return (
      said.find((line) => /^tar: (?!Exiting|.*(changed as we read it|socket ignored)$)/.test(line)) ??
      `tar ended with status ${tar}`
    );
  return undefined;
}
