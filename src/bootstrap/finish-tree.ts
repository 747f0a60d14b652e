import { BerthError } from "../errors.ts";
import { InRoot } from "../host/in-root.ts";
import { runInToolView } from "./confine-tool.ts";
import type { Packages } from "./lock.ts";

/** What belongs to one machine, or was there for a tool only. Directories go whole. */
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
  "var/cache/dnf",
  "var/cache/zypp",
  "var/log/dnf.log",
  "var/log/dnf.rpm.log",
  "var/log/dnf.librepo.log",
  "var/log/hawkey.log",
  "var/log/zypp",
  "var/log/zypper.log",
];

/** A machine gets fresh ones; without device nodes a tree can be copied and kept anywhere. */
const EMPTIED = ["dev", "run", "tmp"];
/** To be mounted upon. */
const MOUNT_POINTS = ["proc", "sys"];

/**
 * Written empty, as regular files: an empty machine-id is filled in by the first boot without its being a "first boot"
 * that applies all presets, machine-id(5); resolv.conf is the host's until then, and something to bind upon.
 */
const EMPTY_FILES = ["etc/machine-id", "etc/resolv.conf"];

/**
 * `/` gets 0755: it is the machine's root directory, where its users have to get in (with 0700 not even Debian 13's
 * dbus.service starts); the host's users are kept out by the store, 0700.
 */
const SCRIPT = `
set -eu
umask 022
cd /tree
rm -rf ${REMOVED.join(" ")}
for name in ${EMPTIED.join(" ")}; do
  [ ! -L "$name" ] || { echo "/$name is a link"; exit 1; }
  [ -d "$name" ] || mkdir "$name"
  find "./$name" -xdev -mindepth 1 -delete
done
chmod 1777 tmp
for name in ${MOUNT_POINTS.join(" ")}; do
  [ -d "$name" ] || mkdir "$name"
done
[ -d etc ] || mkdir etc
for name in ${EMPTY_FILES.join(" ")}; do
  rm -f "$name"
  : >"$name"
  chmod 0644 "$name"
done
chmod 0755 .
`;

/** Makes a general tree of what a tool left in `directory`/tree. */
export async function finishTree(directory: string, signal: AbortSignal): Promise<void> {
  const result = await runInToolView(["sh", "-c", SCRIPT], { directory, may: "fetch", signal });
  if (!result.ok) throw new BerthError(`cannot clean the tree up: ${result.tail.at(-1) ?? result.status}`);
}

/** Bytes that a status file may have: a hundred times a large one's. */
const STATUS_MAX = 256 << 20;

/** What is installed by `package:architecture`, as dpkg's status file has it. */
export function dpkgPackages(tree: string): Packages {
  const root = new InRoot(tree);
  try {
    return parseDpkgStatus(root.readFile("/var/lib/dpkg/status", STATUS_MAX)?.toString("utf8") ?? "");
  } finally {
    root.close();
  }
}

export function parseDpkgStatus(status: string): Packages {
  const installed = status.split("\n\n").flatMap((paragraph) => {
    const field = (name: string) => new RegExp(`^${name}: (.+)$`, "m").exec(paragraph)?.[1];
    const [name, version] = [field("Package"), field("Version")];
    const there = field("Status") === "install ok installed" && name !== undefined && version !== undefined;
    return there ? [[`${name}:${field("Architecture") ?? "all"}`, { version, digest: null }] as const] : [];
  });
  return Object.fromEntries(installed);
}
