import { BerthError } from "../errors.ts";
import { runConfined } from "../host/confine.ts";
import { InRoot } from "../host/in-root.ts";
import type { ReadTree } from "../image/read-tree.ts";
import {
  apkPackages,
  comparePackages,
  dpkgPackages,
  type PackageChanges,
  type Packages,
  pacmanPackages,
  rpmPackages,
} from "./packages.ts";

/** Of a tree: nothing in it is run, and no link leads out of it. */
interface Manager {
  readonly name: string;
  /** Null: the tree has none of its. @throws BerthError where that can't be read here */
  read(tree: ReadTree, signal: AbortSignal): Promise<Packages | null>;
}

/** Of a database as text: a large distribution's is 5 MB. */
const SIZE_MAX = 64 << 20;

const MANAGERS: readonly Manager[] = [
  { name: "dpkg", read: async (tree) => parsed(tree.path, ["/var/lib/dpkg/status"], dpkgPackages) },
  {
    name: "apk",
    read: async (tree) => parsed(tree.path, ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"], apkPackages),
  },
  { name: "pacman", read: async (tree) => pacman(tree.path) },
  { name: "rpm", read: rpm },
];

export interface PackageDiff {
  readonly packages: readonly PackageChanges[];
  /** What could not be compared, and why; a sentence each. */
  readonly problems: readonly string[];
}

/** By each package manager that either tree has. */
export async function diffPackages(before: ReadTree, after: ReadTree, signal: AbortSignal): Promise<PackageDiff> {
  const packages: PackageChanges[] = [];
  const problems: string[] = [];
  for (const { name, read } of MANAGERS) {
    try {
      const [old, now] = [await read(before, signal), await read(after, signal)];
      if (old !== null || now !== null) packages.push(comparePackages(name, old ?? new Map(), now ?? new Map()));
    } catch (error) {
      if (!(error instanceof BerthError)) throw error;
      problems.push(error.message);
    }
  }
  return { packages, problems };
}

function parsed(tree: string, places: readonly string[], parse: (text: string) => Packages): Packages | null {
  const root = new InRoot(tree);
  try {
    for (const place of places) {
      const text = root.readFile(place, SIZE_MAX);
      if (text !== null) return parse(text.toString("utf8"));
    }
    return null;
  } finally {
    root.close();
  }
}

function pacman(tree: string): Packages | null {
  const root = new InRoot(tree);
  try {
    const names = root.list("/var/lib/pacman/local");
    return names === null ? null : pacmanPackages(names);
  } finally {
    root.close();
  }
}

const RPM_PLACES = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
const RPM_FILES = ["rpmdb.sqlite", "Packages.db", "Packages"];
const NOT_HERE = 127;

/** rpm writes to what it reads, so it gets a copy; as nobody, since what it parses is the tree's. */
const RPM_SCRIPT = `
[ -n "$(command -v rpm)" ] || exit ${NOT_HERE}
mount -t tmpfs -o mode=0755,size=512m,nosuid,nodev,noexec berth-rpm /old
cp -rP "/tree/$1" /old/db
chown -R 65534:65534 /old/db
as_nobody rpm --dbpath /old/db -qa --qf '%{NAME} %{ARCH} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n'
`;

async function rpm({ path, confined }: ReadTree, signal: AbortSignal): Promise<Packages | null> {
  const place = rpmPlace(path);
  if (place === null) return null;
  const lines: string[] = [];
  const { ok, status, tail } = await runConfined(RPM_SCRIPT, [place], {
    ...confined,
    writable: false,
    signal,
    onLine: (line) => lines.push(line),
  });
  if (status === `ended with status ${NOT_HERE}`)
    throw new BerthError("packages of rpm are not compared: rpm is not installed here");
  if (!ok) throw new BerthError(`packages of rpm are not compared: ${tail.at(-1) ?? status}`);
  return rpmPackages(lines.filter((line) => !/^(warning|error): /.test(line)));
}

/** Where its database really is in the tree: links in it are followed here, and by nobody else. */
function rpmPlace(tree: string): string | null {
  const root = new InRoot(tree);
  try {
    for (const place of RPM_PLACES) {
      if (!RPM_FILES.some((file) => root.resolve(`${place}/${file}`)?.type === "file")) continue;
      return root.resolve(place)?.path ?? null;
    }
    return null;
  } finally {
    root.close();
  }
}
