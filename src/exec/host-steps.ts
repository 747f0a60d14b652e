import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, constants, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { startTimeOf } from "../host/process-id.ts";
import type { StepKind, StepOf } from "../plan/step.ts";
import { MS_PRIVATE, MS_SLAVE } from "../sys/constants.ts";
import { cloneInside, cloneTree, setMountAttributes } from "../sys/mounts.ts";
import { pidfdOpen } from "../sys/processes.ts";
import { boundDatagramSocket } from "../sys/sockets.ts";
import { enableControllers, removeCgroup, removeSharedCgroup } from "./cgroup.ts";
import { mountAttributes } from "./compilation.ts";
import { EXIT_RECORD_SIZE } from "./exit-record.ts";
import type { Launch } from "./launch.ts";
import { announceLeftovers } from "./leftovers.ts";
import { lockFile, unlinkLocked } from "./lock-file.ts";
import { recordRange } from "./range-ledger.ts";

/**
 * What berth itself does around the stage. Each action leaves its fds and results in the launch under the names the
 * plan gives them, and says how to undo what it makes as soon as it is made (`launch.undoBy`), since it may fail
 * halfway; launch.ts calls the undos backwards, after a failure at once and otherwise when the machine has ended.
 */
export type Undo = (failed: boolean, rebooting: boolean) => void;
type Action<K extends StepKind> = (args: StepOf<K>["args"], launch: Launch) => void | Promise<void>;

type Kinds =
  | "lock-name"
  | "claim-range"
  | "make-record"
  | "make-cgroup"
  | "make-scope"
  | "enable-controllers"
  | "clone-tree"
  | "make-layer"
  | "notify-socket"
  | "load-filter"
  | "write-id-maps"
  | "map-owners"
  | "set-oom-score"
  | "hold-machine";

export const HOST: { readonly [K in Kinds]: Action<K> } = {
  "lock-name": ({ path }, launch) => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const fd = lockFile(path);
    if (fd === null)
      throw new BerthError(`machine ${launch.plan.machine} is running already, or another command is starting it`, {
        hint: `berth list shows what runs; its lock is ${path}`,
      });
    launch.fds.name("name-lock", fd);
    launch.undoBy(() => unlinkLocked(path, launch.fds.get("name-lock")));
  },

  "claim-range": ({ path, base, size, ledger }, launch) => {
    // systemd-nspawn's own registry of ranges, so that neither takes one the other has.
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const fd = lockFile(path);
    if (fd === null)
      throw new BerthError(`the ids from ${base} to ${base + size - 1} are in use by another running container`, {
        hint: "PrivateUsers=pick chooses a range that is free",
      });
    launch.fds.name("range-lock", fd);
    launch.undoBy(() => unlinkLocked(path, launch.fds.get("range-lock")));
    if (ledger === null) return;
    const forget = recordRange(ledger, launch.plan.machine, base);
    launch.undoBy((failed) => {
      if (failed) forget();
    });
  },

  "make-record": ({ directory }, launch) => {
    makeEmptyDirectory(directory);
    launch.undoBy(() => rmSync(directory, { recursive: true, force: true }));
    // First of all: who is killed from here on leaves word of what there is to clean up.
    announceLeftovers(directory, launch.plan);
    const create = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
    launch.fds.name("directory", openSync(directory, constants.O_DIRECTORY));
    const record = openSync(join(directory, "exit"), create, 0o600);
    launch.fds.name("record", record);
    // At a position, so the keeper still writes from the beginning.
    writeSync(record, Buffer.alloc(EXIT_RECORD_SIZE), 0, EXIT_RECORD_SIZE, 0);
    launch.fds.name("log", openSync(join(directory, "console.log"), create | constants.O_APPEND, 0o600));
  },

  "make-cgroup": ({ path, owner, parents, controllers }, launch) => {
    const made = mkdirSync(path, { recursive: true });
    launch.undoBy(() => removeSharedCgroup(path));
    // Whoever made the parents has handed on their controllers. Its own too, while nothing runs in it: that is cheap.
    const cgroups = made === path ? [path] : [...parents, path];
    if (controllers.length > 0) for (const cgroup of cgroups) enableControllers(cgroup);
    prepareCgroup(path, owner);
  },

  "make-scope": ({ unit, path, owner }, launch) => {
    startScope(unit, launch.keeperPid, launch.plan.machine);
    // The scope itself is systemd's: it goes when its last process does.
    launch.undoBy(() => removeCgroup(path));
    prepareCgroup(path, owner);
  },

  "enable-controllers": async ({ path }, launch) => {
    // A cgroup can't have both processes and controllers for its children, and a scope's first process was the stage.
    await launch.stage.stageEnd();
    enableControllers(path);
  },

  "clone-tree": ({ fd, path, inside, recursive, flags, propagation }, launch) => {
    const tree = inside === null ? cloneTree(path, recursive) : cloneInside(path, inside, recursive);
    launch.fds.name(fd, tree);
    const mode = propagation === "private" ? MS_PRIVATE : MS_SLAVE;
    setMountAttributes(tree, { set: mountAttributes(flags), propagation: mode }, recursive, path);
  },

  "make-layer": ({ fd, directory }, launch) => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    launch.undoBy((_, rebooting) => {
      if (!rebooting) rmSync(directory, { recursive: true, force: true });
    });
    // data is the root directory of the overlay and shows its mode inside.
    for (const part of ["data", "work"]) mkdirSync(join(directory, part), { recursive: true, mode: 0o755 });
    launch.fds.name(fd, cloneTree(directory, false));
  },

  "notify-socket": ({ directory, owner, fd }, launch) => {
    // Bound through the directory's fd: a socket's path may have 107 bytes only.
    const name = `/proc/self/fd/${launch.fds.get("directory")}/notify`;
    const socket = boundDatagramSocket(name);
    launch.fds.name("notify-socket", socket);
    const path = join(directory, "notify");
    chmodSync(path, 0o666);
    chownSync(path, owner, owner);
    launch.fds.name(fd, cloneTree(path, false));
  },

  "load-filter": ({ policy }, launch) => {
    launch.filter = launch.loadFilter(policy);
  },

  "write-id-maps": ({ base, size }, launch) => {
    for (const map of ["gid_map", "uid_map"]) launch.writeLeaderFile(map, `0 ${base} ${size}\n`);
  },

  "map-owners": ({ fd, recursive }, launch) => {
    setMountAttributes(launch.fds.get(fd), { idmap: launch.leaderUserNamespace() }, recursive, launch.pathOf(fd));
  },

  "hold-machine": ({ pid, startTime, cgroup }, launch) => {
    launch.fds.name("machine", pidfdOpen(pid));
    // The pid may have become another process's before the pidfd was taken.
    if (startTimeOf(pid) !== startTime) throw new BerthError(`machine ${launch.plan.machine} has just ended`);
    launch.fds.name("cgroup", openSync(cgroup, constants.O_DIRECTORY));
  },

  "set-oom-score": ({ score }, launch) => {
    launch.writeLeaderFile("oom_score_adj", `${score}\n`);
  },
};

/** A killed run leaves its directory; its lock is ours now, so nobody uses it. */
function makeEmptyDirectory(directory: string): void {
  if (mkdirSync(directory, { recursive: true, mode: 0o700 }) !== undefined) return;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/** supervisor/ for the keeper, payload/ for the machine: whose it is, so that its init may divide it further. */
function prepareCgroup(path: string, owner: number): void {
  mkdirSync(join(path, "supervisor"), { recursive: true });
  const payload = join(path, "payload");
  mkdirSync(payload, { recursive: true });
  // The files that cgroup_subtree_control(7) and the kernel's delegation rules name, and no others (limits stay ours).
  if (owner !== 0)
    for (const file of ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"])
      chownSync(join(payload, file), owner, owner);
}

/** A transient scope by systemd's own client: PIDs=keeper, Delegate=yes. Waits until the keeper is in it. */
function startScope(unit: string, keeper: number, machine: string): void {
  const properties = ["PIDs", "au", "1", String(keeper), "Delegate", "b", "true", "Slice", "s", "machine.slice"];
  const description = ["Description", "s", `Machine ${machine} (berth)`, "CollectMode", "s", "inactive-or-failed"];
  const call = ["call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"];
  const method = ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail"];
  try {
    execFileSync("busctl", [...call, ...method, "5", ...properties, ...description, "0"], {
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
    });
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new BerthError(`systemd would not start ${unit}: ${said}`, {
      hint: `systemctl status ${unit} says more; an old one that lingers goes with systemctl stop ${unit}`,
    });
  }
  const deadline = Date.now() + 10_000;
  while (!readFileSync(`/proc/${keeper}/cgroup`, "utf8").includes(unit)) {
    if (Date.now() > deadline) throw new BerthError(`systemd did not put the keeper into ${unit} within 10 s`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  }
}
