import type { Register } from "../stage/assembler.ts";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  STATX_TYPE,
} from "../sys/constants.ts";
import type { Compilation, Compilers } from "./compilation.ts";

/** systemd's names of them (Container Interface, /run/host/inaccessible). Devices have the number 0:0, which no driver has. */
const NODES: readonly (readonly [name: string, type: number])[] = [
  ["reg", S_IFREG],
  ["dir", S_IFDIR],
  ["fifo", S_IFIFO],
  ["sock", S_IFSOCK],
  ["chr", S_IFCHR],
  ["blk", S_IFBLK],
];

/** struct statx of statx(2). */
const STATX_SIZE = 256;
const STATX_MODE = 28;
const HOST_ROOT = 0;

type Kinds = "make-inaccessible" | "cover";

export const INACCESSIBLE: Compilers<Kinds> = {
  /** Of the host's root, whom a machine with a user namespace does not have: so its own has no rights on them either. */
  "make-inaccessible": ({ path }, c) => {
    const { asm, keeper } = c;
    const { directory, name } = c.parent(path);
    asm.call(keeper, "mkdirat", [directory, name, 0o755]);
    for (const [node, type] of NODES) {
      const place = `${name}/${node}`;
      if (type === S_IFDIR) asm.call(keeper, "mkdirat", [directory, place, 0]);
      else asm.call(keeper, "mknodat", [directory, place, type, 0]);
      asm.call(keeper, "fchownat", [directory, place, HOST_ROOT, HOST_ROOT, AT_SYMLINK_NOFOLLOW]);
    }
  },

  /** A copy of the node's mount, which is read-only, nosuid, nodev and noexec by then. What is covered is only looked at. */
  cover: ({ target }, c) => {
    const { asm, keeper } = c;
    const place = asm.register();
    c.openInRoot(target, place, { api: false });
    const mode = modeOf(c, place);
    const { directory, name } = c.within("/run/host/inaccessible");
    for (const [node, type] of NODES) {
      const is = asm.register();
      asm.pseudo(keeper, "match", [mode, S_IFMT, type], { into: is, lenient: true });
      const mount = c.cloneMount(keeper, directory, `${name}/${node}`, 0, is);
      const both = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
      asm.call(keeper, "move_mount", [mount, "", place, "", both], { onlyIf: is });
      asm.call(keeper, "close", [mount], { onlyIf: is });
    }
    asm.call(keeper, "close", [place]);
  },
};

function modeOf(c: Compilation, place: Register): Register {
  const { asm, keeper } = c;
  const status = asm.reserve(STATX_SIZE);
  const mode = asm.register();
  asm.call(keeper, "statx", [place, "", AT_EMPTY_PATH, STATX_TYPE, status]);
  // 16 bits, and 16 more that the kernel leaves zero.
  asm.pseudo(keeper, "load", [{ at: status.at + STATX_MODE }], { into: mode });
  return mode;
}
