import { expect, test } from "vitest";
import {
  legacyControllers,
  parseMemberships,
  pathBelowMount,
  readCgroupFacts,
  unifiedMount,
} from "../../../src/host/cgroups.ts";
import { parseMountinfo } from "../../../src/host/mountinfo.ts";
import { docker, elsewhere, filesOf, hybrid, legacy, type Sample, unified } from "./samples.ts";

const factsOf = (sample: Sample) =>
  readCgroupFacts(filesOf(sample), parseMountinfo(sample.files["/proc/self/mountinfo"] ?? ""));

test("memberships: a path may hold colons, a v1 hierarchy several controllers or a name", () => {
  expect(parseMemberships("4:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/\n\nrubbish\n")).toEqual([
    { hierarchy: 4, controllers: ["cpu", "cpuacct"], path: "/a:b" },
    { hierarchy: 1, controllers: ["name=systemd"], path: "/init.scope" },
    { hierarchy: 0, controllers: [], path: "/" },
  ]);
});

test("a named hierarchy holds no controller", () => {
  expect(legacyControllers(parseMemberships("4:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n"))).toEqual(["cpu", "cpuacct"]);
});

test("pure v2 under systemd", () => {
  expect(factsOf(unified)).toEqual({
    mode: "v2",
    mount: "/sys/fs/cgroup",
    own: "/user.slice/user-0.slice/session-1.scope",
    controllers: ["memory", "pids"],
  });
});

test("hybrid", () => {
  expect(factsOf(hybrid)).toEqual({
    mode: "hybrid",
    mount: "/sys/fs/cgroup/unified",
    own: "/",
    controllers: ["hugetlb"],
  });
});

test("v1 only", () => {
  expect(factsOf(legacy)).toEqual({ mode: "v1", mount: null, own: "/", controllers: [] });
});

test("no cgroups at all", () => {
  expect(readCgroupFacts(filesOf({ files: {} }), [])).toEqual({ mode: "none", mount: null, own: "/", controllers: [] });
});

test("a v1 hierarchy with a name and no controllers beside cgroup2 is still v2", () => {
  const cgroup = "1:name=systemd:/\n0::/\n";
  expect(factsOf({ files: { ...unified.files, "/proc/self/cgroup": cgroup } }).mode).toBe("v2");
});

test("in a container", () => {
  expect(factsOf(docker)).toMatchObject({ mode: "v2", mount: "/sys/fs/cgroup", own: "/" });
});

test("mounted elsewhere, without a cgroup namespace: our path is relative to what is mounted", () => {
  expect(factsOf(elsewhere)).toEqual({
    mode: "v2",
    mount: "/mnt/control groups",
    own: "/init.scope",
    controllers: ["cpu", "memory", "pids"],
  });
});

test("paths outside the mount or the cgroup namespace count as its root", () => {
  const [mount] = parseMountinfo("34 30 0:28 /a /c rw - cgroup2 none rw\n");
  if (mount === undefined) throw new Error("not parsed");
  expect(pathBelowMount("/a/b", mount)).toBe("/b");
  expect(pathBelowMount("/a", mount)).toBe("/");
  expect(pathBelowMount("/ab", mount)).toBe("/");
  expect(pathBelowMount("/../x", mount)).toBe("/");
  expect(pathBelowMount("/x", { ...mount, root: "/../.." })).toBe("/");
});

test("the usual place wins over a tree's own cgroup2 and a hidden mount counts for nothing", () => {
  const mounts = parseMountinfo(
    "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:8 / /srv/tree/sys/fs/cgroup rw - cgroup2 c rw\n3 1 0:8 / /sys/fs/cgroup rw - cgroup2 c rw\n",
  );
  expect(unifiedMount(mounts)?.id).toBe(3);
  const covered = [...mounts, ...parseMountinfo("4 3 0:9 / /sys/fs/cgroup rw - tmpfs t rw\n")];
  expect(unifiedMount(covered)?.id).toBe(2);
});
