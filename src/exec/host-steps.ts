import { chmodSync, chownSync, closeSync, constants, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { BerthError } from "../errors.ts";
import { mountPart } from "../host/disk-image/mount-part.ts";
import { startTimeOf } from "../host/process-id.ts";
import type { StepKind, StepOf } from "../plan/step.ts";
import { visible } from "../spec/quote.ts";
import { MS_PRIVATE, MS_SLAVE } from "../sys/constants.ts";
import { tryFileLock } from "../sys/file-lock.ts";
import { cloneInside, cloneTree, setMountAttributes } from "../sys/mounts.ts";
import { isReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { boundDatagramSocket, listeningSocket } from "../sys/sockets.ts";
import {
  clearCgroup,
  delegateCgroup,
  divideCgroup,
  enableControllers,
  isPopulated,
  moveProcesses,
  removeCgroup,
  removeSharedCgroup,
} from "./cgroup.ts";
import { chownTree } from "./chown-tree.ts";
import { EXIT_RECORD_SIZE } from "./exit-record.ts";
import { linkJournal, makeJournal } from "./journal.ts";
import type { Launch } from "./launch.ts";
import { divideLayer, makeLayer, openLayer, removeLayer } from "./layer.ts";
import { announceLeftovers } from "./leftovers.ts";
import { checkMount, noteMount } from "./live-mounts.ts";
import { lockFile, treeLock, unlinkLocked, unlinkShared } from "./lock-file.ts";
import { mountAttributes } from "./mount-attributes.ts";
import { NAMESPACES, type NamespaceKinds } from "./namespace-steps.ts";
import { openNetwork } from "./open-network.ts";
import { openUpper } from "./overlay-upper.ts";
import { makeRamfs } from "./ramfs.ts";
import { claimFiles, claimRange, RangeTaken, releaseRange } from "./range-claim.ts";
import { recordRange } from "./range-ledger.ts";
import { isRunning, makeRecordDirectory } from "./record-directory.ts";
import { requireDelegated, setUnitProperty, startScope } from "./units.ts";
import { writeUserRecords } from "./user-records.ts";

/**
 * What berth itself does around the stage. Each action leaves its fds and results in the launch under the names the
 * plan gives them, and says how to undo what it makes as soon as it is made (`launch.undoBy`), since it may fail
 * halfway; launch.ts calls the undos backwards, after a failure at once and otherwise when the machine has ended, and
 * tells each whether one before it was `incomplete`.
 */
export type Undo = (failed: boolean, rebooting: boolean, incomplete: boolean) => void;
export type Action<K extends StepKind> = (args: StepOf<K>["args"], launch: Launch) => void | Promise<void>;

type Kinds =
  | "lock-name"
  | "lock-tree"
  | "lock-use"
  | "chown-tree"
  | "claim-range"
  | "make-record"
  | "make-cgroup"
  | "make-scope"
  | "delegate-cgroup"
  | "set-unit-property"
  | "use-unit"
  | "enable-controllers"
  | "clone-tree"
  | "mount-part"
  | "lock-submounts"
  | "open-network"
  | "make-layer"
  | "make-journal"
  | "link-journal"
  | "open-upper"
  | "make-credentials"
  | "make-user-records"
  | "notify-socket"
  | "rendezvous"
  | "load-filter"
  | "hold-machine"
  | "open-mounts"
  | "note-mount"
  | "check-mount";

export const HOST: { readonly [K in Kinds | NamespaceKinds]: Action<K> } = {
  "lock-name": ({ path }, launch) => {
    const fd = lockFile(path);
    if (fd === null)
      throw new BerthError(`machine ${launch.plan.machine} is running already, or another command is starting it`, {
        hint: `berth list shows what runs; its lock is ${path}`,
      });
    launch.fds.name("name-lock", fd);
    launch.undoBy(() => unlinkLocked(path, launch.fds.take("name-lock")));
  },

  "lock-tree": ({ tree, registry, shared }, launch) => {
    // systemd-nspawn's own registry of trees, so that neither writes to one the other writes to.
    mkdirSync(dirname(registry), { recursive: true, mode: 0o755 });
    const path = treeLock(registry, tree);
    const fd = lockFile(path, shared);
    if (fd === null)
      throw new BerthError(`${tree} is in use by another machine${shared ? " that may change it" : ""}`, {
        hint: shared
          ? "power that one off first: what it changes meanwhile would be no file system to another one"
          : "-x runs one beside it, from the tree as it is, and throws its changes away",
      });
    const name = `lock:${path}`;
    launch.fds.name(name, fd);
    launch.undoBy(() => (shared ? unlinkShared : unlinkLocked)(path, launch.fds.take(name)));
  },

  "lock-use": ({ path, directory, as }, launch) => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const fd = lockFile(path);
    if (fd === null) throw new BerthError(`${directory} is in use by another machine`, { hint: SHARED_USE[as] });
    const name = `lock:${path}`;
    launch.fds.name(name, fd);
    launch.undoBy(() => unlinkLocked(path, launch.fds.take(name)));
  },

  "chown-tree": async ({ path, base }, launch) => {
    launch.say(`changing the owners in ${visible(path)} to ids from ${base} on`);
    await chownTree(path, base, { say: (line) => launch.say(line), mayGoOn: () => launch.throwIfAborted() });
  },

  "claim-range": async ({ ledger, ...range }, launch) => {
    // systemd-nspawn's own registry of ranges, so that neither takes one the other has.
    const claim = claimRange(range);
    const { base, size } = range;
    if ("taken" in claim)
      throw new RangeTaken(`the ids from ${base} to ${base + size - 1} are in use by another running container`, {
        hint: `PrivateUsers=pick chooses a range that is free; the lock is ${claim.taken}`,
      });
    launch.fds.name("lock:range", claim.fd);
    launch.undoBy(() => releaseRange(claimFiles(range), launch.fds.take("lock:range")));
    if (ledger === null) return;
    const forget = await recordRange(ledger, launch.plan.machine, base);
    launch.undoBy((failed) => {
      if (failed) forget();
    });
  },

  "make-record": ({ directory }, launch) => {
    makeRecordDirectory(directory, launch.plan.machine);
    launch.undoBy((_failed, _rebooting, incomplete) => {
      // What has not been undone is in it, for who sweeps up.
      if (!incomplete) launch.removeRecord(directory);
    });
    // First of all: who is killed from here on leaves word of what there is to clean up.
    announceLeftovers(directory, launch.plan);
    const create = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
    launch.fds.name("directory", openSync(directory, constants.O_DIRECTORY));
    const record = openSync(`${directory}/exit`, create, 0o600);
    launch.fds.name("record", record);
    // Says whose the directory is, should somebody remove the lock of the name: nobody waits for this one.
    tryFileLock(record, directory);
    // At a position, so the keeper still writes from the beginning.
    writeSync(record, Buffer.alloc(EXIT_RECORD_SIZE), 0, EXIT_RECORD_SIZE, 0);
    launch.fds.name("log", openSync(`${directory}/console.log`, create | constants.O_APPEND, 0o600));
  },

  "make-cgroup": ({ path, parents, controllers }, launch) => {
    const made = mkdirSync(path, { recursive: true });
    if (made === undefined && isPopulated(path)) throw isRunning(launch.plan.machine, `there are processes in ${path}`);
    launch.undoBy(() => removeSharedCgroup(path));
    // Whoever made the parents has handed on their controllers. Its own too, while nothing runs in it: that is cheap.
    const cgroups = made === path ? [path] : [...parents, path];
    if (controllers.length > 0) for (const cgroup of cgroups) enableControllers(cgroup, cgroup === made);
    divideCgroup(path);
  },

  "make-scope": async ({ unit, slice, path }, launch) => {
    await startScope({ unit, slice, path }, launch.keeperPid, launch.plan.machine, launch);
    launch.undoBy(() => clearCgroup(path));
    divideCgroup(path);
  },

  "delegate-cgroup": ({ path, owner }) => delegateCgroup(path, owner),

  "set-unit-property": ({ unit, name, value }, launch) => setUnitProperty(unit, name, value, launch),

  "use-unit": async ({ unit, path }, launch) => {
    await requireDelegated(unit, launch);
    const payload = join(path, "payload");
    if (isPopulated(payload))
      throw new BerthError(`${unit} has a machine in it already`, { hint: "a kept unit is for one machine" });
    // Of supervisor/ berth itself is a part by then, and goes on to be.
    launch.undoBy(() => removeCgroup(payload));
    divideCgroup(path);
    moveProcesses(path, join(path, "supervisor"));
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

  "mount-part": async ({ fd, image, part, access }, launch) => {
    launch.fds.name(fd, await mountPart(image, part, access));
  },

  "lock-submounts": ({ fd, flags }, launch) => {
    const attributes = mountAttributes(flags);
    setMountAttributes(launch.fds.get(fd), { set: attributes }, true, launch.pathOf(fd));
    setMountAttributes(launch.fds.get(fd), { clear: attributes }, false, launch.pathOf(fd));
  },

  "open-network": ({ fd, path }, launch) => {
    launch.fds.name(fd, openNetwork(path));
  },

  "make-layer": ({ fd, directory, content }, launch) => {
    if (content === "empty") makeLayer(directory);
    const layer = openLayer(directory);
    try {
      launch.undoBy((_, rebooting) => {
        if (!rebooting) removeLayer(directory);
      });
      if (content === "empty") divideLayer(layer);
      launch.fds.name(fd, cloneTree(`/proc/self/fd/${layer}`, false));
    } finally {
      closeSync(layer);
    }
  },

  "open-upper": (args, launch) => {
    launch.fds.name(
      args.fd,
      openUpper(args, (undo) => launch.undoBy(undo)),
    );
  },

  "make-journal": ({ path, owner }, launch) => makeJournal(path, owner, (undo) => launch.undoBy(undo)),

  "link-journal": ({ path, target }, launch) => linkJournal(path, target, (undo) => launch.undoBy(undo)),

  "make-credentials": ({ fd, owner }, launch) => {
    const opened = (mount: number): void => launch.fds.name(fd, mount);
    makeRamfs("500", owner, opened, (into) => {
      for (const [id, bytes] of launch.credentials) into.file(id, bytes, 0o400);
    });
  },

  "make-user-records": ({ fd, owner, users }, launch) => {
    const opened = (mount: number): void => launch.fds.name(fd, mount);
    makeRamfs("755", owner, opened, (into) => writeUserRecords(into, users));
  },

  "notify-socket": ({ directory, owner, fd }, launch) => {
    // Bound through the directory's fd: a socket's path may have 107 bytes only.
    const name = `/proc/self/fd/${launch.fds.get("directory")}/notify`;
    const socket = boundDatagramSocket(name);
    launch.fds.name("notify-socket", socket);
    const path = `${directory}/notify`;
    chmodSync(path, 0o666);
    chownSync(path, owner, owner);
    launch.fds.name(fd, cloneTree(path, false));
  },

  rendezvous: ({ directory }, launch) => {
    const socket = listeningSocket(`/proc/self/fd/${launch.fds.get("directory")}/keeper`);
    launch.fds.name("rendezvous", socket);
    chmodSync(`${directory}/keeper`, 0o600);
  },

  "load-filter": ({ policy }, launch) => {
    launch.filter = launch.loadFilter(policy);
  },

  "hold-machine": ({ pid, startTime, cgroup }, launch) => {
    // Who supervises it may have given us one.
    const known = launch.fds.has("machine");
    if (!known) launch.fds.name("machine", pidfdOpen(pid));
    // The pid may have become another process's before the pidfd was taken.
    const is = known ? !isReadable(launch.fds.get("machine")) : startTimeOf(pid) === startTime;
    if (!is) throw new BerthError(`machine ${launch.plan.machine} has just ended`);
    launch.fds.name("cgroup", openSync(cgroup, constants.O_DIRECTORY));
  },

  "open-mounts": ({ fd, pid }, launch) => {
    launch.fds.name(fd, openSync(`/proc/${pid}/ns/mnt`, constants.O_RDONLY));
    // Alive after it, so the pid was its own all the while.
    if (!pidfdSendSignal(launch.fds.get("machine"), 0))
      throw new BerthError(`machine ${launch.plan.machine} has just ended`);
  },

  "note-mount": ({ fd, file, ...more }, launch) => {
    const strike = noteMount(file, launch.fds.get(fd), more);
    launch.undoBy((failed) => {
      if (failed) strike();
    });
  },

  "check-mount": ({ fd, target, ids }, launch) => checkMount(launch.fds.get(fd), target, ids),

  ...NAMESPACES,
};

/** What to do where two machines want the same. */
const SHARED_USE: Readonly<Record<StepOf<"lock-use">["args"]["as"], string>> = {
  journal: "it has the same machine id; a copy of a tree needs one of its own: empty its etc/machine-id",
  layer: "the kernel promises nothing for a layer that is written to twice at a time: give each overlay one of its own",
};
