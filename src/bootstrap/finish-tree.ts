import { chmod, lstat, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../errors.ts";

/** What belongs to one machine, or was there for mmdebstrap only. Directories go whole. */
const REMOVED = [
  "etc/hostname",
  "etc/apt/apt.conf.d/99mmdebstrap",
  "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
  "var/lib/dbus/machine-id",
  "var/lib/systemd/random-seed",
  "var/lib/systemd/credential.secret",
  "var/lib/dpkg/status-old",
  "var/lib/dpkg/diversions-old",
  "var/cache/apt/pkgcache.bin",
  "var/cache/apt/srcpkgcache.bin",
  "var/cache/debconf/templates.dat-old",
  "var/cache/debconf/config.dat-old",
];

/** A machine gets fresh ones; without device nodes a tree can be copied and kept anywhere. */
const EMPTIED = ["dev", "run", "tmp"];

/**
 * Written empty, as regular files: an empty machine-id is filled in by the first boot without its being a "first boot"
 * that applies all presets, machine-id(5); resolv.conf is the host's until then, and something to bind upon.
 */
const EMPTY_FILES = ["etc/machine-id", "etc/resolv.conf"];

/**
 * Makes a general tree of what mmdebstrap left. `/` gets 0755: it is the machine's root directory, where its users have
 * to get in (with 0700 not even Debian 13's dbus.service starts); the host's users are kept out by the store, 0700.
 */
export async function finishTree(tree: string): Promise<void> {
  await Promise.all(REMOVED.map((path) => rm(join(tree, path), { recursive: true, force: true })));
  await Promise.all(EMPTIED.map((path) => emptyDirectory(join(tree, path))));
  for (const path of EMPTY_FILES) {
    await rm(join(tree, path), { force: true });
    await writeFile(join(tree, path), "", { mode: 0o644, flag: "wx" });
    await chmod(join(tree, path), 0o644);
  }
  await chmod(tree, 0o755);
}

async function emptyDirectory(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) throw new BerthError(`${path} is no directory`);
  const entries = await readdir(path);
  await Promise.all(entries.map((entry) => rm(join(path, entry), { recursive: true })));
}

/** Versions by `package:architecture` of what is installed, dpkg's status file. */
export async function installedPackages(tree: string): Promise<Record<string, string>> {
  const status = await readFile(join(tree, "var/lib/dpkg/status"), "utf8");
  const installed = status.split("\n\n").flatMap((paragraph) => {
    const field = (name: string) => new RegExp(`^${name}: (.+)$`, "m").exec(paragraph)?.[1];
    const [name, version] = [field("Package"), field("Version")];
    const there = field("Status") === "install ok installed" && name !== undefined && version !== undefined;
    return there ? [[`${name}:${field("Architecture") ?? "all"}`, version] as const] : [];
  });
  return Object.fromEntries(installed);
}
