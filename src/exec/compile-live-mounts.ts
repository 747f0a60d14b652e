import {
  AT_FDCWD,
  AT_RECURSIVE,
  CLONE_NEWNS,
  CLONE_NEWUSER,
  MNT_DETACH,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CLOEXEC,
  O_PATH,
  OPEN_FLAGS,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  PR_SET_DUMPABLE,
} from "../sys/constants.ts";
import type { Compilers } from "./compilation.ts";
import { openTarget } from "./open-target.ts";

type Kinds = "park-mount" | "enter-users" | "lock-mount" | "enter-mounts" | "attach-inside" | "open-inside" | "detach";

/** Any place of its type will do: nobody else ever sees this mount namespace. */
const PARKED = { directory: "/dev", file: "/dev/null" } as const;

/** Of the host's own /proc; also the name of the register that holds it. */
const OWN_FDS = "/proc/self/fd";

/** Mounts that come and go while the machine runs. */
export const LIVE_MOUNTS: Compilers<Kinds> = {
  "park-mount": ({ fd, type }, c) => {
    c.asm.call(c.keeper, "move_mount", [c.fd(fd), "", AT_FDCWD, PARKED[type], MOVE_MOUNT_F_EMPTY_PATH]);
  },

  /** Its rights from here on are those of the machine's root; the machine sees this process in no namespace of its own. */
  "enter-users": (_, c) => {
    c.asm.call(c.init, "prctl", [PR_SET_DUMPABLE, 0, 0, 0, 0]);
    c.asm.call(c.init, "setns", [c.fd("machine"), CLONE_NEWUSER]);
  },

  /**
   * Mounts that are copied into a namespace of less rights are locked, as all of the machine's are (mount_namespaces(7)): a
   * copy of the copy still is, and so stays read-only and whole wherever it is attached.
   */
  "lock-mount": ({ fd, type }, c) => {
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    c.asm.call(c.init, "unshare", [CLONE_NEWNS]);
    c.asm.call(c.init, "open_tree", [AT_FDCWD, PARKED[type], flags], { into: c.named(fd) });
  },

  "enter-mounts": ({ fd }, c) => {
    const { asm, init } = c;
    const { O_DIRECTORY } = OPEN_FLAGS[c.arch];
    asm.call(init, "openat", [AT_FDCWD, OWN_FDS, O_PATH | O_DIRECTORY | O_CLOEXEC], { into: c.named(OWN_FDS) });
    asm.call(init, "setns", [c.fd(fd), CLONE_NEWNS]);
    asm.call(init, "openat", [AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC], { into: c.root });
  },

  "attach-inside": ({ fd, target, create }, c) => {
    const place = openTarget(c, target, create, false, false, c.init);
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    c.asm.call(c.init, "move_mount", [c.fd(fd), "", place, "", flags]);
  },

  "open-inside": ({ fd, path }, c) => {
    c.openInRoot(path, c.named(fd), { api: false, program: c.init });
  },

  /**
   * By the number of the very fd that the host has looked at, in the /proc of the host: umount2(2) takes paths only, and
   * one inside may mean something else by now.
   */
  detach: ({ fd }, c) => {
    const { asm, init } = c;
    asm.call(init, "dup3", [c.fd(fd), c.lastSlot, O_CLOEXEC]);
    asm.call(init, "fchdir", [c.named(OWN_FDS)]);
    asm.call(init, "umount2", [String(c.lastSlot), MNT_DETACH]);
  },
};
