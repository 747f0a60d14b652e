/**
 * What a test could leave behind on the host, read into lists of readable lines: one row of KINDS a sort of thing.
 * leaks.ts compares two such readings. Everything is read from /proc, /sys and directories; nothing is changed.
 */
import { type Dirent, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

export interface Kind {
  readonly name: string;
  /** One line a thing; equal lines mean that it is there that many times (stacked mounts). */
  read(directories: readonly string[]): string[];
  /** True: something that is gone afterwards is a defect as well, not only something new. */
  readonly keep: boolean;
}

export const KINDS: readonly Kind[] = [
  { name: "mount", read: mounts, keep: true },
  { name: "cgroup", read: cgroups, keep: true },
  { name: "network link", read: links, keep: true },
  { name: "named network namespace", read: () => list("/run/netns"), keep: true },
  { name: "loop device", read: loopDevices, keep: true },
  { name: "unix socket", read: unixSockets, keep: false },
  { name: "fd", read: () => openFds("self"), keep: false },
  { name: "file", read: files, keep: false },
];

/** Levels below a watched directory that are read; whole trees are not walked to their leaves. */
const DEPTH = 3;

/** proc_pid_mountinfo(5) without the first two fields: ids are given out anew, the rest says what it is. */
function mounts(): string[] {
  return lines("/proc/self/mountinfo").map((line) => line.split(" ").slice(2).join(" "));
}

/**
 * Every cgroup of v2 and of hierarchies with a name, where systemd-nspawn makes its own. In those of v1's controllers
 * nobody here makes any, and what watches over this host makes and removes them as it likes.
 */
function cgroups(): string[] {
  const roots = new Map<string, string>();
  for (const line of lines("/proc/self/mountinfo")) {
    const [, , device = "", , mountPoint = ""] = line.split(" ");
    if (/ - cgroup(2 | .*\bname=)/.test(line) && !roots.has(device)) roots.set(device, mountPoint);
  }
  return [...roots.values()].flatMap((root) => walk(root, Number.POSITIVE_INFINITY, (entry) => entry.isDirectory()));
}

/** Interfaces of this network namespace. Not /sys/class/net, which shows the namespace sysfs was mounted in. */
function links(): string[] {
  return lines("/proc/self/net/dev")
    .slice(2)
    .map((line) => line.slice(0, line.indexOf(":")).trim());
}

/** Loop devices are everybody's, and sockets the network's: what other files and runs of tests have is theirs, and what other checkouts do. */
function isOthers(path: string): boolean {
  const run = /\bberth-(?:test|bench)-\w+/.exec(path)?.[0];
  if (run !== undefined) return run !== basename(tmpdir());
  // Of the host that bus-host.test.ts boots, with this one's network: no other test has its run directory there.
  if (path.startsWith("/run/berth/")) return true;
  return path.startsWith("/") && !["/run", tmpdir(), process.cwd()].some((own) => path.startsWith(`${own}/`));
}

function loopDevices(): string[] {
  return list("/sys/block")
    .filter((name) => name.startsWith("loop"))
    .flatMap((name) =>
      lines(`/sys/block/${name}/loop/backing_file`)
        .filter((file) => !isOthers(file))
        .map((file) => `${name} on ${file}`),
    );
}

/**
 * Bound sockets with berth in their name, abstract ones (@) too: proc_pid_net(5), unix. Inode 0 is a connection
 * that its listener has not accepted yet, which is no socket of its own.
 */
function unixSockets(): string[] {
  return lines("/proc/self/net/unix")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[7]?.includes("berth") && fields[6] !== "0" && !isOthers(fields[7]))
    .map((fields) => `${fields[7]} (inode ${fields[6]})`);
}

/**
 * `7 -> pipe:[1234]` for each open fd of a process, for a daemon under test as well as for this one. Without the one that
 * a first launch leaves for all later ones: what stages are executed from (stage/stage-process.ts).
 */
export function openFds(pid: number | "self"): string[] {
  const directory = `/proc/${pid}/fd`;
  return list(directory).flatMap((fd) => {
    try {
      const target = readlinkSync(`${directory}/${fd}`);
      // The fd readdir itself used is among them, and gone by now or this very directory.
      const isNoLeak =
        (target.endsWith("/fd") && target.startsWith("/proc/")) || target.startsWith("/memfd:berth-stage ");
      return isNoLeak ? [] : [`${fd} -> ${target}`];
    } catch {
      return [];
    }
  });
}

/** Not the shared /tmp: what tests put there goes through os.tmpdir(), which is their own (own-tmpdir.ts). */
function files(directories: readonly string[]): string[] {
  const temporary = list(tmpdir()).map((name) => join(tmpdir(), name));
  return [...new Set([...temporary, ...directories.flatMap((path) => walk(path, DEPTH, () => true))])];
}

function walk(directory: string, depth: number, wanted: (entry: Dirent) => boolean): string[] {
  if (depth === 0) return [];
  return entries(directory)
    .filter(wanted)
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      return entry.isDirectory() ? [path, ...walk(path, depth - 1, wanted)] : [path];
    });
}

/** Whatever goes away while it is read was no leak: an unreadable place is an empty one. */
function entries(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}

export function list(directory: string): string[] {
  return entries(directory).map((entry) => entry.name);
}

function lines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}
