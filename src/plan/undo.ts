import type { Step, StepKind } from "./step.ts";

const WITH_KEEPER_MOUNTS = "none: the keeper's mount namespace ends with it";
const WITH_FD = "close the fd";
const WITH_INIT = "none: init is killed, and its namespaces end with it";
const IN_TREE = "remove what was made in the tree, put back what was there";

/** How each kind of step is taken back when a later one fails, or why nothing has to be. */
const UNDO: { readonly [K in StepKind]: string } = {
  "lock-name": "remove and close the lock",
  "claim-range": "remove and close the lock",
  "make-record": "remove the directory",
  "make-cgroup": "kill what is in it, remove it",
  "make-scope": "kill what is in it, remove it; systemd drops an empty scope",
  "enable-controllers": "removed with the cgroup",
  "clone-tree": WITH_FD,
  "make-layer": "remove the directory",
  "notify-socket": "removed with the record",
  "load-filter": "none: only memory, and a cache that stays valid",
  "spawn-stage": "end of file on its socket makes it exit; wait for it",
  "hand-over": "end of file on its socket makes it clean up and exit; wait for it",
  "write-id-maps": WITH_INIT,
  "map-owners": "none: the mount ends with its fd",
  "hold-machine": WITH_FD,
  "set-oom-score": WITH_INIT,
  await: "none: only waits",
  signal: "none: only tells",
  "begin-keeper": "none: only the keeper's own state",
  "unshare-mounts": WITH_KEEPER_MOUNTS,
  "move-keeper": "none: the keeper leaves it by exiting",
  "clone-init": "kill init and wait for it",
  "adopt-joined": "none: only waits",
  "act-as": "none: only the keeper's own state",
  "attach-root": WITH_KEEPER_MOUNTS,
  "mount-tmpfs": "remove a mount point that was made for it",
  "make-directory": WITH_KEEPER_MOUNTS,
  "make-node": WITH_KEEPER_MOUNTS,
  "make-symlink": WITH_KEEPER_MOUNTS,
  "set-read-only": WITH_KEEPER_MOUNTS,
  "write-file": WITH_KEEPER_MOUNTS,
  attach: "remove mount points that were made for it",
  "make-mount-point": "remove it if it was made",
  mask: WITH_KEEPER_MOUNTS,
  "lock-read-only": WITH_KEEPER_MOUNTS,
  console: "none: the terminal ends with the machine's devpts",
  "copy-file": IN_TREE,
  "replace-symlink": IN_TREE,
  "delete-file": IN_TREE,
  "enter-root": WITH_KEEPER_MOUNTS,
  "leave-root": "none: only the keeper's own state",
  "make-file-system": "none: a detached mount ends with its fd",
  "make-overlay": "none: a detached mount ends with its fd",
  "enter-machine": WITH_INIT,
  "open-terminal": WITH_INIT,
  "become-root": WITH_INIT,
  unshare: WITH_INIT,
  "loopback-up": WITH_INIT,
  "make-api-file-systems": WITH_INIT,
  "lock-mounts": WITH_INIT,
  "mount-own-tmpfs": WITH_INIT,
  "set-hostname": WITH_INIT,
  "join-keyring": WITH_INIT,
  stdio: WITH_INIT,
  "set-limits": WITH_INIT,
  "set-umask": WITH_INIT,
  "drop-bounding-set": WITH_INIT,
  "set-capabilities": WITH_INIT,
  "load-seccomp": WITH_INIT,
  execute: "none: the launch is done",
};

export function undoOf(step: Step): string {
  return UNDO[step.kind];
}
