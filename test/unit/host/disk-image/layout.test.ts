import { describe, expect, test } from "vitest";
import { layoutOf } from "../../../../src/host/disk-image/layout.ts";
import type { Content, DiskTable, Partition } from "../../../../src/host/disk-image/table.ts";

const MIB = 1 << 20;
const DISK = { path: "/images/web.raw", size: 1024 * MIB, arch: "x64" } as const;
const ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const ROOT_ARM = "b921b045-1df0-41c3-af44-4c6f280d3fae";
const ROOT_X86 = "44479540-f297-41b2-9af7-d131d5f0458a";
const HOME = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";
const ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const SWAP = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
const EXT4: Content = { type: "ext4", usage: "filesystem" };
const READ_ONLY = 1n << 60n;
const NO_AUTO = 1n << 63n;

let last = 0;
function part(type: string, more: Partial<Partition> = {}): Partition {
  last++;
  return { number: last, offset: last * 10 * MIB, size: 10 * MIB, type, flags: 0n, label: "", content: EXT4, ...more };
}

function gpt(...partitions: Partition[]): DiskTable {
  last = 0;
  return { scheme: "gpt", partitions, content: null };
}

function dos(...partitions: Partition[]): DiskTable {
  return { ...gpt(...partitions), scheme: "dos" };
}

const refusal = (table: DiskTable): string => {
  try {
    layoutOf(DISK, table);
  } catch (error) {
    return (error as Error).message.replace("/images/web.raw can't be used as a disk image: ", "");
  }
  return "accepted";
};

describe("the root", () => {
  test("is the partition of the processor's type, wherever it is", () => {
    const { root } = layoutOf(DISK, gpt(part(ESP), part(ROOT_ARM), part(LINUX), part(ROOT_X86), part(ROOT)));
    expect(root).toEqual({ number: 5, offset: 50 * MIB, size: 10 * MIB, fsType: "ext4", readOnly: false });
    expect(layoutOf({ ...DISK, arch: "arm64" }, gpt(part(ROOT), part(ROOT_ARM))).root.number).toBe(2);
    expect(layoutOf(DISK, gpt(part(ROOT_X86))).root.number).toBe(1);
  });

  test("of several is the newest, by its label", () => {
    const named = (...labels: string[]) =>
      layoutOf(DISK, gpt(...labels.map((label) => part(ROOT, { label })))).root.number;
    expect(named("os_9", "os_10", "os_8")).toBe(2);
    expect(named("same", "same")).toBe(1);
    expect(named("_empty", "a")).toBe(2);
  });

  test("is the only partition for Linux, where none has the type", () => {
    expect(layoutOf(DISK, gpt(part(ESP), part(LINUX), part(SWAP))).root.number).toBe(2);
    expect(refusal(gpt(part(LINUX), part(LINUX)))).toContain("several others that could be it: 1, 2");
    expect(refusal(gpt(part(SWAP)))).toBe("it has no root partition");
    expect(refusal(gpt())).toBe("it has no root partition");
    expect(refusal(gpt(part(ROOT_ARM)))).toBe("its root partition is for arm64");
  });

  test("of an MBR is the bootable one, or the only one", () => {
    expect(layoutOf(DISK, dos(part("0x83"), part("0x83", { flags: 0x80n }), part("0x5"))).root.number).toBe(2);
    expect(layoutOf(DISK, dos(part("0x82"), part("0x83"))).root.number).toBe(2);
    expect(refusal(dos(part("0x83"), part("0x83")))).toBe("its root can be one of partitions 1, 2");
    expect(refusal(dos(part("0x7")))).toBe("it has no partition of type 83 (Linux)");
  });

  test("is the image itself, where there is no table", () => {
    const bare = (type: string) => ({ scheme: null, partitions: [], content: { type, usage: "filesystem" } }) as const;
    expect(layoutOf(DISK, bare("xfs")).root).toEqual({
      ...{ number: null, offset: 0, size: DISK.size },
      ...{ fsType: "xfs", readOnly: false },
    });
    expect(layoutOf(DISK, bare("squashfs")).root.readOnly).toBe(true);
    expect(layoutOf(DISK, bare("ext3")).root.fsType).toBe("ext4");
  });
});

test("flags of partitions are heeded: read-only ones, and those that nobody is to mount", () => {
  const { root, others } = layoutOf(
    DISK,
    gpt(part(ROOT, { flags: READ_ONLY }), part(HOME, { flags: NO_AUTO }), part(ESP, { flags: NO_AUTO | 4n })),
  );
  expect(root.readOnly).toBe(true);
  expect([...others.keys()]).toEqual(["esp"]);
});

describe("what can't be mounted is refused, with what it is", () => {
  test.each([
    [{ type: "crypto_LUKS", usage: "crypto" }, "its root partition (1) is encrypted (crypto_LUKS)"],
    [{ type: "DM_verity_hash", usage: "crypto" }, "its root partition (1) is hashes for dm-verity"],
    [{ type: "ntfs", usage: "filesystem" }, "its root partition (1) is of type ntfs, which berth does not mount"],
    [{ type: "__proto__", usage: "filesystem" }, "its root partition (1) is of type __proto__, which berth does not"],
    [null, "its root partition (1) has no file system that is known"],
  ])("%j", (content, message) => {
    expect(refusal(gpt(part(ROOT, { content })))).toContain(message);
  });

  test("also where it is not the root's, but not a boot loader's", () => {
    const content = { type: "crypto_LUKS", usage: "crypto" };
    expect(refusal(gpt(part(ROOT), part(HOME, { content })))).toContain("its home partition (2) is encrypted");
    expect(layoutOf(DISK, gpt(part(ROOT), part(ESP, { content: null }))).others.size).toBe(0);
  });
});

describe("a hostile table is refused:", () => {
  test.each<[string, DiskTable, string]>([
    ["beyond the end", gpt(part(ROOT, { size: 2048 * MIB })), "ends beyond the end of the image"],
    ["beyond all numbers", gpt(part(ROOT, { offset: 2 ** 53, size: 2 ** 62 })), "ends beyond the end of the image"],
    ["overlapping", gpt(part(ROOT, { size: 15 * MIB }), part(HOME)), "partitions 1 and 2 overlap"],
    ["on the same place", gpt(part(ROOT), part(HOME, { offset: 10 * MIB })), "overlap"],
    ["on the table itself", gpt(part(ROOT, { offset: 0 })), "partition 1 lies on the partition table"],
    ["too many", gpt(...Array.from({ length: 129 }, () => part(SWAP))), "more than 128 partitions"],
    ["of which only the guard is left", { ...gpt(), scheme: "pmbr" }, "its partition table is damaged"],
    ["of no size", gpt(part(ROOT, { size: 0 })), "it has no root partition"],
    ["a type that is a word", gpt(part("__proto__"), part("constructor")), "it has no root partition"],
  ])("%s", (_, table, message) => {
    expect(refusal(table)).toContain(message);
  });

  test("what overlaps and is for nobody harms nobody", () => {
    expect(refusal(gpt(part(ROOT), part(SWAP, { offset: 12 * MIB })))).toBe("accepted");
  });
});
