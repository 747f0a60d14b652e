/**
 * Clones of a Debian tree, by a daemon's store and as a whole process, beside what the kernel and LXC do on the same file
 * system, each of which is new. All clones stay until the end, so that the last one has many beside it: as quick as the first
 * is what the spread of the samples says.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { ImageStore } from "../../src/image/store.ts";
import { type FileSystem, mountFileSystem } from "../lib/file-systems.ts";
import { debianTree } from "../lib/trees.ts";
import { BERTH, type Contestant, installed, options, report, roundRobin, workDirectory } from "./lib.ts";

/** Bytes; the file has holes. */
const DISK = 16 * 2 ** 30;
/** Clones of which the room on the disk is told. */
const COUNTED = 10;

const given = options(20);
const work = workDirectory();
const tree = await debianTree("bookworm");

function run(program: string, ...words: readonly string[]): void {
  execFileSync(program, words, { stdio: ["ignore", "ignore", "pipe"] });
}

/** `clone` is given a new name each time; what was written before is not its to wait for. */
function cloning(disk: string, name: string, note: string, clone: (name: string) => unknown): Contestant {
  let count = 0;
  return {
    name,
    note,
    async run() {
      execFileSync("sync", ["-f", disk]);
      const begin = performance.now();
      await clone(`${name.replace(/\W+/g, "-")}-${++count}`);
      return { "to end": performance.now() - begin };
    },
  };
}

function failed(problem: string): never {
  throw new Error(problem);
}

/** kB on the disk. */
function used(directory: string): number {
  execFileSync("sync", ["-f", directory]);
  const { blocks, bfree, bsize } = statfsSync(directory);
  return ((blocks - bfree) * bsize) / 1024;
}

interface Peers {
  readonly fileSystem: FileSystem;
  readonly title: string;
  readonly against: readonly string[];
  /** `disk` has `base`, a copy of the tree. */
  readonly contestants: (disk: string) => readonly Contestant[];
}

/** As clients of the bus have it, and as commands have it, which end when all is on the disk. */
interface Stores {
  readonly daemon: ImageStore;
  readonly command: ImageStore;
}

const LATER = "the store's call; on the disk soon after";

const COPY = "cp -a --reflink=auto";

const ALL: readonly Peers[] = [
  {
    fileSystem: "ext4",
    title: "A clone on ext4: a stack of layers",
    against: ["overlay mount", "lxc-copy"],
    contestants: (disk) => {
      const lxc = join(disk, "lxc");
      mkdirSync(join(lxc, "base"), { recursive: true });
      const config = [`lxc.rootfs.path = dir:${disk}/base`, "lxc.net.0.type = empty", "lxc.uts.name = base"];
      writeFileSync(join(lxc, "base/config"), `${config.join("\n")}\n`);
      const overlay = (name: string): void => {
        const [at, layers] = [
          join(disk, name),
          `lowerdir=${disk}/base,upperdir=${disk}/${name}/u,workdir=${disk}/${name}/w`,
        ];
        for (const part of ["u", "w", "m"]) mkdirSync(join(at, part), { recursive: true });
        run("mount", "-t", "overlay", "-o", layers, "overlay", join(at, "m"));
        run("umount", join(at, "m"));
      };
      return [
        cloning(disk, "overlay mount", "mount(8), umount(8), three directories", overlay),
        ...installed([{ name: "lxc-copy", tool: "lxc-copy" }]).map(({ name, tool }) =>
          cloning(disk, name, "process; -s -B overlay", (to) =>
            run(tool, "-P", lxc, "-n", "base", "-N", to, "-s", "-B", "overlay"),
          ),
        ),
      ];
    },
  },
  {
    fileSystem: "btrfs",
    title: "A clone on btrfs: a snapshot",
    against: ["btrfs subvolume snapshot"],
    contestants: (disk) => [
      cloning(disk, "btrfs subvolume snapshot", "process", (to) =>
        run("btrfs", "subvolume", "snapshot", `${disk}/root/machines/base`, `${disk}/${to}`),
      ),
    ],
  },
  {
    fileSystem: "xfs",
    title: "A clone on XFS: a copy that shares its blocks",
    against: [COPY, `${COPY}, sync`],
    contestants: (disk) => [
      cloning(disk, COPY, "process; not on the disk", (to) =>
        run("cp", "-a", "--reflink=auto", `${disk}/base`, `${disk}/${to}`),
      ),
      copyAndSync(disk),
    ],
  },
];

function copyAndSync(disk: string): Contestant {
  return cloning(disk, `${COPY}, sync`, "process", (to) =>
    run("sh", "-c", `cp -a --reflink=auto ${disk}/base ${disk}/${to} && sync -f ${disk}`),
  );
}

/** A plain copy shares nothing, wherever it is. */
function plainCopies(disk: string, { daemon, command }: Stores): readonly Contestant[] {
  const copy = (store: ImageStore, to: string): Promise<void> =>
    store.clone("plain", to, { readOnly: false, driver: "directory", signal: new AbortController().signal });
  return [
    cloning(disk, "berth, plain copy", `${LATER}; --driver=directory`, (to) => copy(daemon, to)),
    cloning(disk, "berth, a command's", "the same; on the disk", (to) => copy(command, to)),
    cloning(disk, COPY, "process; not on the disk", (to) =>
      run("cp", "-a", "--reflink=auto", `${disk}/base`, `${disk}/${to}`),
    ),
    copyAndSync(disk),
  ];
}

for (const { fileSystem, title, against, contestants } of ALL) {
  using mounted = await mountFileSystem(fileSystem, join(work, fileSystem), async () => undefined, DISK);
  const disk = mounted.path;
  const env = { ...process.env, BERTH_ROOT: join(disk, "root") };
  const paths = findPaths(env, INSTALLATION, undefined);
  const stores = { daemon: new ImageStore(paths, failed), command: new ImageStore(paths) };
  execFileSync(BERTH, ["import-fs", tree, "base"], { env, stdio: ["ignore", "ignore", "pipe"] });
  run("cp", "-a", tree, join(disk, "base"));
  const signal = new AbortController().signal;
  const clone = (to: string): Promise<void> => stores.daemon.clone("base", to, { readOnly: false, signal });
  const ours = [
    cloning(disk, "berth, in the daemon", fileSystem === "xfs" ? LATER : "the store's call", clone),
    cloning(disk, "berth clone", "process", (to) =>
      execFileSync(BERTH, ["clone", "base", to], { env, stdio: ["ignore", "ignore", "pipe"] }),
    ),
  ];
  const results = await roundRobin([...ours, ...contestants(disk)], given.rounds, 1);
  report({ title, ratioOf: "to end", against }, results, given);
  await stores.daemon.written();
  const before = used(disk);
  for (let count = 0; count < COUNTED; count++) await clone(`counted-${count}`);
  await stores.daemon.written();
  if (!given.json) console.log(`\n${((used(disk) - before) / COUNTED).toFixed(0)} kB a clone`);
  if (fileSystem !== "ext4") continue;
  // The other one is a stack by now, whose files an overlay gives.
  execFileSync(BERTH, ["import-fs", tree, "plain"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const plain = await roundRobin(plainCopies(disk, stores), Math.ceil(given.rounds / 2), 1);
  await stores.daemon.written();
  report({ title: "A plain copy on ext4", ratioOf: "to end", against: [COPY, `${COPY}, sync`] }, plain, given);
}
