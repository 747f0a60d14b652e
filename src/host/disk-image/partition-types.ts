/** What a partition is for, by its type: the Discoverable Partitions Specification, for the processors that berth runs on. */
export type Purpose = "root" | "usr" | "home" | "srv" | "var" | "tmp" | "xbootldr" | "esp" | "linux" | "swap";

type Arch = "x64" | "arm64";

const ANY: Readonly<Record<string, Purpose>> = {
  "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "home",
  "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "srv",
  "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "var",
  "7ec6f557-3bc5-4aca-b293-16ef5df639d1": "tmp",
  "bc13c2ff-59e6-4262-a352-b275fd6f7172": "xbootldr",
  "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "esp",
  "0fc63daf-8483-4772-8e79-3d69d8477de4": "linux",
  "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "swap",
};

/** Its own, then the one of 32 bits that it also runs. */
const ROOTS: Readonly<Record<Arch, readonly string[]>> = {
  x64: ["4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "44479540-f297-41b2-9af7-d131d5f0458a"],
  arm64: ["b921b045-1df0-41c3-af44-4c6f280d3fae", "69dad710-2ce4-4e3c-b16c-21a1d49abed3"],
};
const USRS: Readonly<Record<Arch, readonly string[]>> = {
  x64: ["8484680c-9521-48c6-9c11-b0720656f69e", "75250d76-8cc6-458e-bd66-bd47cc81a812"],
  arm64: ["b0e01050-ee5f-4390-949a-9101b17104e9", "7d0359a3-02b3-4f0a-865c-654403e70625"],
};

/** Roots of others, for a better word than that there is none. */
const FOREIGN: Readonly<Record<string, string>> = {
  [ROOTS.x64[0] ?? ""]: "x86-64",
  [ROOTS.x64[1] ?? ""]: "x86",
  [ROOTS.arm64[0] ?? ""]: "arm64",
  [ROOTS.arm64[1] ?? ""]: "arm",
  "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "riscv64",
  "c31c45e6-3f39-412e-80fb-4809c4980599": "ppc64-le",
  "08a7acea-624c-4a20-91e8-6e0fa67d23f9": "s390x",
};

export interface KnownType {
  readonly purpose: Purpose;
  /** The lower the better, of several for one purpose. */
  readonly rank: number;
}

export function typeOf(uuid: string, arch: Arch): KnownType | null {
  const root = ROOTS[arch].indexOf(uuid);
  if (root >= 0) return { purpose: "root", rank: root };
  const usr = USRS[arch].indexOf(uuid);
  if (usr >= 0) return { purpose: "usr", rank: usr };
  const any = Object.hasOwn(ANY, uuid) ? ANY[uuid] : undefined;
  return any === undefined ? null : { purpose: any, rank: 0 };
}

/** The processor that a root partition of this type is for. */
export function rootArchitecture(uuid: string): string | undefined {
  return Object.hasOwn(FOREIGN, uuid) ? FOREIGN[uuid] : undefined;
}
