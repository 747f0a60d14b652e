/** A unit of systemd's by its cgroup. */
export interface Unit {
  /** `web.service` */
  readonly name: string;
  /** Of its cgroup, below the mount. */
  readonly path: string;
  /** It belongs to a user's session or service manager, not to the system. */
  readonly ofUser: boolean;
}

/** The unit whose processes are in a cgroup or below it; null: none is, or PID 1's own. */
export function unitOf(cgroup: string): Unit | null {
  const parts = cgroup.split("/").slice(1);
  const at = parts.findIndex((part) => !part.endsWith(".slice"));
  const name = parts[at]?.replace(/^_/, "") ?? "";
  if (!/.\.(service|scope)$/.test(name) || name === "init.scope") return null;
  const path = `/${parts.slice(0, at + 1).join("/")}`;
  return { name, path, ofUser: parts.slice(0, at).some((part) => /^user-[0-9]+\.slice$/.test(part)) };
}

/** Where systemd has a slice's cgroup: `/a.slice/a-b.slice` for `a-b.slice`, and `` for the root `-.slice`. */
export function slicePath(slice: string): string {
  if (slice === "-.slice") return "";
  const parts = slice.slice(0, -".slice".length).split("-");
  return parts.map((_, index) => `/${escapeCgroup(`${parts.slice(0, index + 1).join("-")}.slice`)}`).join("");
}

/** `machine-NAME.scope` with what unit names can't hold, and the hyphen that means nesting, escaped (systemd.unit(5)). */
export function scopeName(machine: string): string {
  const escaped = machine.replace(/[^A-Za-z0-9:_.]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
  return `machine-${escaped}.scope`;
}

/** The kernel's own files: systemd puts a `_` before what could be one of them. */
const CONTROLLERS =
  /^(cpu|cpuacct|cpuset|io|blkio|memory|devices|pids|bpf-[a-z-]+|freezer|net_cls|net_prio|perf_event|hugetlb|rdma|misc)\./;

function escapeCgroup(name: string): string {
  return /^(_|\.|cgroup\.)/.test(name) || CONTROLLERS.test(name) ? `_${name}` : name;
}
