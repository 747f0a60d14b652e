import { BerthError } from "../errors.ts";
import type { CommandResult } from "../host/command.ts";
import { runConfinedAlone } from "../host/confine.ts";
import { attachDisk } from "../host/disk-image/attach-disk.ts";
import { shareDisk } from "../image/hold-tree.ts";
import { readTree } from "../image/read-tree.ts";
import type { ImageStore } from "../image/store.ts";
import { type Compression, PACKER, programOf } from "./compression.ts";
import { type RunProgram, runPiped } from "./piped.ts";
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
 * In the order of names, and without the times that only reading changes, so that the same tree gives the same archive; for that also
 * the oldest way to write holes, as the others put a process id into names. In the directory that it begins in, as extract.ts has it.
 */
const TAR: readonly string[] = [
  ...["tar", "--create", "--file=-", `--blocking-factor=${BLOCKS}`, "--format=posix", "--sort=name"],
  ...["--sparse", "--sparse-version=0.0", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"],
  ...["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"],
  ...["--quoting-style=escape", "--checkpoint=100", "--checkpoint-action=echo=berth-at %u", "."],
];
/** It reads files of all owners. */
const READER = { capabilities: ["CAP_DAC_READ_SEARCH"] } as const;

/** Writes the tree of an image to `fd`. A machine may run from it: what changes meanwhile is as it is when it is read. */
export async function exportTar(
  store: ImageStore,
  name: string,
  fd: number,
  compression: Compression,
  { signal, progress, log }: Control,
): Promise<void> {
  const pack = programOf(compression, "pack");
  await store.read(name, async ({ path, type }) => {
    using stack = new DisposableStack();
    // What a machine changes on a disk meanwhile would be no file system any more.
    if (type === "raw") stack.use(shareDisk({ name, path }, store.paths));
    const disk = type === "raw" ? stack.use(await attachDisk(path)) : null;
    log(`packing, compression: ${compression.name}`);
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
    const said: Said = { tar: [], packer: [] };
    const take = (who: keyof Said, line: string): void => {
      if (said[who].push(line) <= SAID_MAX) log(line, 4);
    };
    const onLine = (line: string): void => {
      const at = /^tar: berth-at (\d+)$/.exec(line)?.[1];
      if (at === undefined) take("tar", line);
      else if (total !== null) progress(Math.min(1, (Number(at) * RECORD) / total));
    };
    const seen = { ...(tree?.confined ?? { directory: "/", mounts: disk?.mounts ?? [] }), writable: false };
    const tar: RunProgram = (options) => runConfinedAlone(TAR, READER, seen, { ...options, onLine });
    const packer: RunProgram = (options) =>
      runConfinedAlone(pack, PACKER, null, {
        ...options,
        stdout: fd,
        onLine: (line) => take("packer", line),
      });
    const fault =
      pack.length === 0
        ? faultOf(await tar({ stdout: fd, signal }), null, said)
        : await runPiped(tar, packer, signal).then((ended) => faultOf(ended.writer, ended.reader, said));
    if (fault !== undefined) throw new BerthError(`cannot export image ${name}: ${fault}`);
    progress(1);
  });
  log(`${name} is complete`);
}

const SAID_MAX = 50;

interface Said {
  readonly tar: string[];
  readonly packer: string[];
}

/** tar(1) ends with 1 where files changed or went while it read them. */
function faultOf(tar: CommandResult | null, packer: CommandResult | null, said: Said): string | undefined {
  if (packer !== null && !packer.ok) return said.packer[0] ?? `the packer ${packer.status}`;
  if (typeof tar?.code === "number" && tar.code <= 1) return undefined;
  return (
    said.tar.find((line) => /^tar: (?!Exiting|.*(changed as we read it|socket ignored)$)/.test(line)) ??
    said.tar.at(-1) ??
    `tar ${tar?.status}`
  );
}
