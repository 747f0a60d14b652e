import { describe, expect, test } from "vitest";
import { isReadOnly, isVisible, type Mount, masks, mountOf, parseMountinfo } from "../../../src/host/mountinfo.ts";
import { docker, hybrid, type Sample, unified } from "./samples.ts";

const mountsOf = (sample: Sample) => parseMountinfo(sample.files["/proc/self/mountinfo"] ?? "");
const at = (mounts: readonly Mount[], id: number): Mount => {
  const mount = mounts.find((candidate) => candidate.id === id);
  if (mount === undefined) throw new Error(`no mount ${id}`);
  return mount;
};

describe("parsing", () => {
  test("optional fields may be none, one or several", () => {
    const [none, several] = parseMountinfo(
      "22 27 0:21 / /proc rw,relatime - proc proc rw\n36 35 98:0 /mnt1 /mnt2 rw shared:2 master:1 unbindable - ext3 /dev/root rw,errors=continue\n",
    );
    expect(none).toEqual({
      id: 22,
      parent: 27,
      root: "/",
      point: "/proc",
      options: ["rw", "relatime"],
      fsType: "proc",
      source: "proc",
      superOptions: ["rw"],
    });
    expect(several).toMatchObject({
      root: "/mnt1",
      point: "/mnt2",
      fsType: "ext3",
      superOptions: ["rw", "errors=continue"],
    });
  });

  test("octal escapes are undone, once", () => {
    const [mount] = parseMountinfo(
      "1 0 8:1 /a\\134040b /mnt/a\\040b\\011c\\012d - rw - ext4 /dev/x\\040y rw\n".replace(" - rw - ", " rw - "),
    );
    expect(mount).toMatchObject({ root: "/a\\040b", point: "/mnt/a b\tc\nd", source: "/dev/x y" });
  });

  test('an empty source (tmpfs mounted with source "") shifts nothing', () => {
    const [mount] = parseMountinfo("50 30 0:40 / /x rw - tmpfs  rw,size=4k\n");
    expect(mount).toMatchObject({ fsType: "tmpfs", source: "", superOptions: ["rw", "size=4k"] });
  });

  test("broken lines are left out", () => {
    expect(parseMountinfo("\n22 27\nno separator here at all\n22 27 0:21 / - proc\n")).toEqual([]);
  });
});

describe("visibility", () => {
  test("the upper of two mounts on one point is the visible one", () => {
    const mounts = mountsOf(hybrid);
    expect(isVisible(at(mounts, 26), mounts)).toBe(false);
    expect(isVisible(at(mounts, 29), mounts)).toBe(true);
    expect(mountOf(mounts, "/dev/pts/0")?.id).toBe(29);
  });

  test("a mount over a directory above hides what was below", () => {
    const mounts = parseMountinfo(
      "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /srv/x rw - ext4 /dev/b rw\n3 1 0:9 / /srv rw - tmpfs t rw\n",
    );
    expect(isVisible(at(mounts, 2), mounts)).toBe(false);
    expect(mountOf(mounts, "/srv/x/file")?.id).toBe(3);
  });

  test("what is hidden through its parent is hidden too", () => {
    const mounts = parseMountinfo(
      "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:7 / /sys rw - sysfs s rw\n3 2 0:8 / /sys/fs/cgroup rw - cgroup2 c rw\n4 2 0:7 / /sys rw - sysfs s rw\n",
    );
    expect(isVisible(at(mounts, 3), mounts)).toBe(false);
    expect(isVisible(at(mounts, 4), mounts)).toBe(true);
  });

  test("a name that only begins alike is another directory", () => {
    const mounts = parseMountinfo("1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /srv rw - xfs /dev/b rw\n");
    expect(mountOf(mounts, "/srv2/x")?.id).toBe(1);
    expect(mountOf(mounts, "/srv")?.id).toBe(2);
    expect(mountOf(mounts, "/")?.id).toBe(1);
    expect(mountOf([], "/")).toBeNull();
  });

  test("read-only by the mount or by the file system", () => {
    const mounts = parseMountinfo(
      "1 0 8:1 / /a ro - ext4 x rw\n2 0 8:1 / /b rw - squashfs x ro\n3 0 8:1 / /c rw,nodev - ext4 x rw,errors=remount-ro\n",
    );
    expect(mounts.map(isReadOnly)).toEqual([true, true, false]);
  });
});

describe("masks over procfs and sysfs", () => {
  test("mounts on the kernel's own empty directories hide nothing", () => {
    expect(masks(mountsOf(unified), "proc")).toEqual([]);
    expect(masks(mountsOf(unified), "sysfs")).toEqual([]);
  });

  test("a container's are named; parts of procfs bound elsewhere are no instance", () => {
    expect(masks(mountsOf(docker), "proc")).toEqual(["/proc/bus", "/proc/fs", "/proc/sys", "/proc/kcore"]);
    expect(masks(mountsOf(docker), "sysfs")).toEqual(["/sys/firmware"]);
  });

  test("one whole instance anywhere is enough", () => {
    const mounts = [...mountsOf(docker), ...parseMountinfo("2000 1287 0:199 / /run/berth-proc rw - proc proc rw\n")];
    expect(masks(mounts, "proc")).toEqual([]);
  });

  test("none mounted", () => {
    expect(masks(parseMountinfo("1 0 8:1 / / rw - ext4 /dev/a rw\n"), "proc")).toBeNull();
  });
});
