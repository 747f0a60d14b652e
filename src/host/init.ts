import type { InitKind, InitMachine, TreeFacts } from "../plan/facts.ts";
import type { Entry, InRoot } from "./in-root.ts";

/** In the order in which systemd-nspawn(1) --boot tries them. */
const CANDIDATES = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init"];

/** The first candidate that is a regular, executable file once its links are followed inside the tree. */
export function discoverInit(tree: InRoot): TreeFacts["init"] {
  for (const path of CANDIDATES) {
    const found = tree.resolveWithHead(path, ELF_HEADER);
    if (found === null || (found.entry.mode & 0o111) === 0) continue;
    return { path, kind: kindOf(tree, found.entry), machine: machineOf(found.head) };
  }
  return null;
}

/** Why none is, said of the first candidate that is there in some form; undefined: none is. */
export function initFault(tree: InRoot): string | undefined {
  for (const path of CANDIDATES) {
    const link = tree.lstat(path);
    if (link === null) continue;
    const found = tree.resolve(path);
    if (found === null) return `${path} leads to ${link.target ?? "nothing"}, which is not there`;
    return found.type === "file"
      ? `${path} is not executable`
      : `${path} is no regular file, but a ${WORDS[found.type]}`;
  }
  return undefined;
}

const WORDS = { directory: "directory", symlink: "link", other: "device, fifo or socket" } as const;

/** Bytes of Elf64_Ehdr, elf(5). */
const ELF_HEADER = 64;
/** Holds all of a sysvinit (52 kB in Debian 12, stripped). */
const SYSVINIT_BYTES = 256 * 1024;

/** By the name of the file that the links lead to: every init but sysvinit has one of its own. */
const KINDS: readonly (readonly [RegExp, InitKind])[] = [
  [/\/systemd\/systemd$/, "systemd"],
  [/\/openrc-init$/, "openrc"],
  [/\/runit(-init)?$/, "runit"],
  [/\/busybox[^/]*$/, "busybox"],
];

function kindOf(tree: InRoot, init: Entry): InitKind {
  const byName = KINDS.find(([pattern]) => pattern.test(init.path))?.[1];
  if (byName !== undefined) return byName;
  // Installed as hard links, busybox's applets all have the name of the applet.
  if (["/bin/busybox", "/usr/bin/busybox"].some((path) => tree.resolve(path)?.identity === init.identity))
    return "busybox";
  return isSysvinit(tree, init) ? "sysvinit" : "other";
}

/** init(8) of sysvinit gives its children this variable, so the text is in the binary. */
function isSysvinit(tree: InRoot, { path, identity, size, changed }: Entry): boolean {
  const key = `${identity} ${size} ${changed}`;
  let is = read.get(key);
  if (is === undefined) {
    const text = tree.readHead(path, SYSVINIT_BYTES);
    if (text === null) return false;
    is = text.includes("INIT_VERSION=sysvinit");
    if (read.size >= READ_MAX) read.clear();
    read.set(key, is);
  }
  return is;
}

/** By file, as it was: to read and search one takes as long as all else that is asked of a tree. */
const read = new Map<string, boolean>();
const READ_MAX = 256;

/** e_machine of elf(5) with the class (1: 32 bit, 2: 64 bit) that goes with it. */
const ELF_MACHINES: Readonly<Record<string, InitMachine>> = {
  "2:62": "x86-64",
  "2:183": "aarch64",
  "1:3": "i386",
  "1:40": "arm",
};

export function machineOf(head: Buffer): InitMachine {
  if (head.subarray(0, 2).toString("latin1") === "#!") return "script";
  if (head.length < 20 || head.readUInt32BE(0) !== 0x7f454c46) return "unknown";
  const littleEndian = head.readUInt8(5) === 1;
  return littleEndian ? (ELF_MACHINES[`${head.readUInt8(4)}:${head.readUInt16LE(18)}`] ?? "unknown") : "unknown";
}
