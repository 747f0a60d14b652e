/** One line of /proc/self/mountinfo: proc_pid_mountinfo(5). */
export interface Mount {
  readonly id: number;
  readonly parent: number;
  /** Directory of the file system that is the root of this mount. */
  readonly root: string;
  /** Mount point, as this process sees it. */
  readonly point: string;
  readonly options: readonly string[];
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

export function parseMountinfo(text: string): readonly Mount[] {
  return text.split("\n").flatMap((line) => {
    const mount = parseLine(line);
    return mount === null ? [] : [mount];
  });
}

/** The mount with this id, without parsing the others: a host has some fifty. */
export function findMount(text: string, id: number): Mount | null {
  const line = text.split("\n").find((text) => text.startsWith(`${id} `));
  return line === undefined ? null : parseLine(line);
}

function parseLine(line: string): Mount | null {
  // The optional fields (shared:1 master:2 ...) vary in number; " - " ends them.
  const separator = line.indexOf(" - ");
  if (separator < 0) return null;
  const [id, parent, , root, point, options] = line.slice(0, separator).split(" ");
  const [fsType, source, superOptions] = line.slice(separator + 3).split(" ");
  if (root === undefined || point === undefined || options === undefined || fsType === undefined) return null;
  return {
    id: Number(id),
    parent: Number(parent),
    root: unescapeOctal(root),
    point: unescapeOctal(point),
    options: options.split(","),
    fsType,
    source: unescapeOctal(source ?? ""),
    superOptions: (superOptions ?? "").split(","),
  };
}

/** The kernel writes space, tab, newline and backslash as `\040`, `\011`, `\012`, `\134` (all of them ASCII). */
function unescapeOctal(field: string): string {
  if (!field.includes("\\")) return field;
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

export function isBelow(path: string, directory: string): boolean {
  return directory === "/" ? path !== "/" && path.startsWith("/") : path.startsWith(`${directory}/`);
}

/** Whether a look-up of its mount point arrives at this mount: nothing is mounted over it or over a directory above it. */
export function isVisible(mount: Mount, mounts: readonly Mount[]): boolean {
  if (mounts.some((other) => other !== mount && other.parent === mount.id && other.point === mount.point)) return false;
  for (let current: Mount | undefined = mount, seen = 0; current !== undefined && seen < mounts.length; seen++) {
    const { parent, point }: Mount = current;
    if (mounts.some((other) => other !== current && other.parent === parent && isBelow(point, other.point)))
      return false;
    current = mounts.find(({ id }) => id === parent);
  }
  return true;
}

/** The mount that `path` (absolute, without links) is on. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | null {
  return (
    mounts
      .filter((mount) => mount.point === path || isBelow(path, mount.point))
      .sort((a, b) => b.point.length - a.point.length)
      .find((mount) => isVisible(mount, mounts)) ?? null
  );
}

export function isReadOnly(mount: Mount): boolean {
  return mount.options.includes("ro") || mount.superOptions.includes("ro");
}

/** Directories the kernel itself keeps for mounts, always empty: a mount there hides nothing (is_empty_dir_inode). */
const KERNEL_MOUNT_POINTS =
  /^\/(proc\/(sys\/fs\/binfmt_misc|fs\/nfsd|xen|openprom)|sys\/(fs\/(cgroup|bpf|pstore|selinux|smackfs|fuse\/connections|resctrl)|kernel\/(debug|tracing|security|config)|firmware\/efi\/efivars|hypervisor\/.*))(\/|$)/;

/**
 * What an outer container manager mounted over parts of procfs or sysfs. A new user namespace may mount a fresh
 * one only where its mount namespace already shows one whole (mount_too_revealing in fs/namespace.c), so any such
 * mask makes that EPERM. Empty: some instance is whole. Null: there is none at all.
 */
export function masks(mounts: readonly Mount[], fsType: "proc" | "sysfs"): readonly string[] | null {
  const instances = mounts.filter((mount) => mount.fsType === fsType && mount.root === "/" && isVisible(mount, mounts));
  let fewest: readonly string[] | null = null;
  for (const instance of instances) {
    const over = mounts
      .filter((mount) => mount.parent === instance.id)
      .map((mount) => mount.point)
      .filter((point) => !KERNEL_MOUNT_POINTS.test(standardPath(point, instance, fsType)));
    if (fewest === null || over.length < fewest.length) fewest = over;
  }
  return fewest;
}

/** The path a mount point would have were the instance mounted at /proc or /sys. */
function standardPath(point: string, instance: Mount, fsType: "proc" | "sysfs"): string {
  return `${fsType === "proc" ? "/proc" : "/sys"}${point.slice(instance.point.length)}`;
}
