/**
 * A Debian tree from archives and to one: by a daemon's transfer and as a whole process beside tar(1), which checks nothing,
 * and systemd's importer. What a command imports is on the disk when that ends, as with systemd's; the row of tar that
 * says `sync` does the same. What the daemon imports for a client of the bus comes there soon after. All on a new ext4 of their own.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { INSTALLATION } from "../../src/host/installation.ts";
import { findPaths } from "../../src/host/paths.ts";
import { ImageStore } from "../../src/image/store.ts";
import { compressionForFile } from "../../src/transfer/compression.ts";
import { Transfers } from "../../src/transfer/transfers.ts";
import { mountFileSystem } from "../lib/file-systems.ts";
import { debianTree } from "../lib/trees.ts";
import { BERTH, type Contestant, installed, options, report, roundRobin, workDirectory } from "./lib.ts";

const SYSTEMD_IMPORT = "/usr/lib/systemd/systemd-import";
const FORMATS = ["tar", "tar.gz", "tar.zst"] as const;
/** Bytes; the file has holes. */
const DISK = 8 * 2 ** 30;

const given = options(7);
const tree = await debianTree("bookworm");
using disk = await mountFileSystem("ext4", join(workDirectory(), "disk"), async () => undefined, DISK);
const work = disk.path;
const env = { ...process.env, BERTH_ROOT: join(work, "root") };
const paths = findPaths(env, INSTALLATION, undefined);
const daemon = new ImageStore(paths, (problem) => {
  throw new Error(problem);
});
const transfers = new Transfers(daemon);
/** As a command has it, which ends when all is on the disk. */
const commands = new Transfers(new ImageStore(paths));
for (const format of FORMATS)
  execFileSync("tar", ["-C", tree, "--numeric-owner", "--xattrs", "-caf", archive(format), "."]);

function archive(format: string): string {
  return join(work, `tree.${format}`);
}

/** Of a target that is not there; removing it does not count. */
function timed(name: string, note: string, target: string, act: () => unknown): Contestant {
  return {
    name,
    note,
    async run() {
      execFileSync("sync", ["-f", work]);
      const begin = performance.now();
      await act();
      const took = performance.now() - begin;
      await daemon.written();
      rmSync(target, { recursive: true, force: true });
      return { "to end": took };
    },
  };
}

function run(program: string, ...words: readonly string[]): void {
  execFileSync(program, words, { env, stdio: ["ignore", "ignore", "pipe"] });
}

function imports(format: string): readonly Contestant[] {
  const [ours, target, machines] = [join(paths.machines, "new"), join(work, "unpacked"), join(work, "machines")];
  const tar = `mkdir ${target} && tar -C ${target} --numeric-owner -xpf ${archive(format)}`;
  mkdirSync(machines, { recursive: true });
  const transfer = (by: Transfers): Promise<void> => {
    const image = { name: "new", readOnly: false, replace: false };
    return by.importTar(openSync(archive(format), "r"), image).done;
  };
  const systemd = installed([{ name: "systemd-import", tool: SYSTEMD_IMPORT }]).map(({ name, tool }) =>
    timed(name, "process", join(machines, "new"), () =>
      run(tool, "tar", `--image-root=${machines}`, archive(format), "new"),
    ),
  );
  return [
    timed("berth, in the daemon", "checked, confined; on the disk soon after", ours, () => transfer(transfers)),
    timed("berth, a command", "in one process; checked, confined, on the disk", ours, () => transfer(commands)),
    timed("berth import-tar", "process; the same", ours, () => run(BERTH, "import-tar", archive(format), "new")),
    timed("tar -x, sync", "process", target, () => run("sh", "-c", `${tar} && sync -f ${target}`)),
    timed("tar -x", "process; not on the disk", target, () => run("sh", "-c", tar)),
    ...systemd,
  ];
}

for (const format of FORMATS) {
  const results = await roundRobin(imports(format), given.rounds, 1);
  const against = ["tar -x", "tar -x, sync", "systemd-import"];
  report({ title: `A Debian tree from .${format}`, ratioOf: "to end", against }, results, given);
}

mkdirSync(paths.machines, { recursive: true });
const web = join(paths.machines, "web");
execFileSync("cp", ["-a", tree, web]);
const target = join(work, "out.tar.zst");
const tar = `tar -C ${web} --numeric-owner --xattrs -c . | zstd -q -T0 -o ${target}`;
const exports = [
  timed("berth, in the daemon", "confined", target, async () => {
    const fd = openSync(target, "wx");
    await transfers.exportTar("web", fd, compressionForFile(target)).done;
  }),
  timed("berth export-tar", "process; confined", target, () => run(BERTH, "export-tar", "web", target)),
  timed("tar -c, zstd -T0", "process", target, () => run("sh", "-c", tar)),
];
const results = await roundRobin(exports, given.rounds, 1);
report({ title: "A Debian tree to .tar.zst", ratioOf: "to end", against: ["tar -c, zstd -T0"] }, results, given);
