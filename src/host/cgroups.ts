import type { CgroupFacts } from "../plan/facts.ts";
import { type HostFiles, words } from "./host-files.ts";
import { isBelow, isVisible, type Mount } from "./mountinfo.ts";

/** One line of /proc/self/cgroup: cgroups(7). Hierarchy 0 is cgroup2; a named v1 hierarchy has `name=NAME` as its only controller. */
export interface Membership {
  readonly hierarchy: number;
  readonly controllers: readonly string[];
  readonly path: string;
}

export function parseMemberships(text: string): readonly Membership[] {
  return text.split("\n").flatMap((line) => {
    // The path may itself contain colons.
    const [hierarchy, controllers, ...path] = line.split(":");
    if (controllers === undefined || path.length === 0) return [];
    return [
      {
        hierarchy: Number(hierarchy),
        controllers: controllers === "" ? [] : controllers.split(","),
        path: path.join(":"),
      },
    ];
  });
}

/** Controllers that a v1 hierarchy holds, so that cgroup2 cannot have them. */
export function legacyControllers(memberships: readonly Membership[]): readonly string[] {
  return memberships
    .filter(({ hierarchy }) => hierarchy !== 0)
    .flatMap(({ controllers }) => controllers)
    .filter((controller) => !controller.startsWith("name="));
}

/** Most hosts have one; where trees with a cgroup2 of their own are mounted too, the usual places come first. */
export function unifiedMount(mounts: readonly Mount[]): Mount | null {
  const visible = mounts.filter((mount) => mount.fsType === "cgroup2" && isVisible(mount, mounts));
  const at = (point: string) => visible.find((mount) => mount.point === point);
  return at("/sys/fs/cgroup") ?? at("/sys/fs/cgroup/unified") ?? visible[0] ?? null;
}

/**
 * Where a cgroup2 path is below a mount. They differ in a container without a cgroup namespace of its own, where
 * only the container's subtree is mounted. `/` also where the path is outside (written `/../..` then).
 */
export function pathBelowMount(path: string, mount: Mount): string {
  if (path.startsWith("/..") || mount.root.startsWith("/..") || path === mount.root) return "/";
  if (!isBelow(path, mount.root)) return "/";
  return mount.root === "/" ? path : path.slice(mount.root.length);
}

export function readCgroupFacts(files: HostFiles, mounts: readonly Mount[]): CgroupFacts {
  const memberships = parseMemberships(files.text("/proc/self/cgroup") ?? "");
  const legacy = legacyControllers(memberships).length > 0;
  const unified = unifiedMount(mounts);
  if (unified === null) {
    const v1 = legacy || mounts.some((mount) => mount.fsType === "cgroup");
    return { mode: v1 ? "v1" : "none", mount: null, own: "/", controllers: [] };
  }
  const own = pathBelowMount(memberships.find(({ hierarchy }) => hierarchy === 0)?.path ?? "/", unified);
  return {
    mode: legacy ? "hybrid" : "v2",
    mount: unified.point,
    own,
    controllers: words(files.text(cgroupFile(unified.point, own, "cgroup.controllers"))),
  };
}

export function cgroupFile(mount: string, path: string, name: string): string {
  return `${mount}${path === "/" ? "" : path}/${name}`;
}
