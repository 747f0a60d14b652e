import { rootKind } from "../spec/root-kind.ts";
import {
  apiFileSystems,
  attachApiFileSystems,
  awaitApiFileSystems,
  awaitsRoot,
  freshFileSystems,
  ownMounts,
} from "./api-file-systems.ts";
import { mapBinds } from "./bind-owners.ts";
import { mapHomes, userSources } from "./bind-users.ts";
import { bindSources } from "./binds.ts";
import { delegateCgroup, enterCgroup, makeCgroup } from "./cgroup.ts";
import { configurationSources, configureTree } from "./configure-tree.ts";
import { attachConsole, connectStdio } from "./console.ts";
import { makeCredentials } from "./credentials.ts";
import { attachCustomMounts } from "./custom-mounts.ts";
import { isDisk, mapDisk } from "./disk.ts";
import { executePayload } from "./execute.ts";
import { identify, publishIdentity } from "./identity.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { attachJournal, journalSource } from "./journal.ts";
import { lastLimits, raisedLimits } from "./limits.ts";
import { host, init, keeper } from "./make-step.ts";
import { maskKernel } from "./masks.ts";
import { joinNetwork, networkSource } from "./network.ts";
import { mapLayers, overlaySources } from "./overlays.ts";
import { chownTree, mapTree } from "./owners.ts";
import { attachOldRoot, mapOldRoot, openOldRoot } from "./pivot.ts";
import { changeDirectory, choosePersonality, chooseProcessors, stayAsInit } from "./process.ts";
import { attachRoot, lockRoot, lockTree, openRoot } from "./root.ts";
import { confine, giveUp, loadFilter } from "./security.ts";
import { labelProcess } from "./selinux.ts";
import { isStack, mapStack } from "./stack.ts";
import type { LaunchPlan, Limit, Namespace, Step } from "./step.ts";
import { becomeUser } from "./user.ts";

/**
 * The whole start of a machine as an ordered list of steps. Pure: nothing is looked at but `input`, so this is what
 * `berth plan` prints and what a start executes.
 *
 * Why this order. The machine's mounts are assembled by the keeper, in a mount namespace that the host's user
 * namespace owns; init then copies that namespace into one of its own, and the kernel locks every mount in the copy
 * (mount_namespaces(7)). So root inside can neither unmount a mask nor make a read-only place writable. The kernel's
 * own file systems must belong to the machine's namespaces, so a child of init makes them (detached, while the host's
 * /proc and /sys are still in sight, as the kernel demands) and the keeper only attaches them.
 */
export function buildPlan(input: PlanInput): LaunchPlan {
  const limits = raisedLimits(input);
  return {
    machine: input.spec.name,
    steps: [
      // First, so that it comes to life on another processor while the rest is prepared.
      host("spawn-stage", { namespaces: madeAhead(input), limits }),
      ...claim(input),
      ...chownTree(input),
      ...openRoot(input),
      ...openOldRoot(input),
      ...networkSource(input),
      ...bindSources(input),
      ...overlaySources(input),
      ...journalSource(input),
      ...userSources(input),
      ...configurationSources(input),
      ...notifySocket(input),
      ...rendezvous(input),
      ...makeCredentials(input),
      ...loadFilter(input),
      ...mapUsers(input),
      ...startKeeper(input, limits),
      ...cloneInit(input),
      ...prepareInit(input),
      ...assembleRoot(input),
      ...finishInit(input),
    ],
  };
}

function claim(input: PlanInput): Step[] {
  const { spec, places } = input;
  const range = idRange(input);
  const { value: users, source } = spec.privateUsers;
  // A range that the settings name is theirs to keep free, and a throw-away machine has none of its own.
  const ledger = users.mode === "pick" && !spec.ephemeral.value ? places.ledger : null;
  // Nobody can have the host's own ids for themselves.
  const claimed = range?.base === 0 ? null : range;
  return [
    host("lock-name", { path: places.lock }),
    // Says what there is to clean up if this process is killed, so it comes before there is anything.
    host("make-record", { directory: places.record }),
    ...lockTree(input),
    ...(claimed === null
      ? []
      : [host("claim-range", { path: `${places.ranges}/${claimed.base}`, ...claimed, ledger }, source)]),
  ];
}

function notifySocket(input: PlanInput): Step[] {
  const directory = input.places.record;
  return [host("notify-socket", { directory, owner: rootId(input), fd: "notify" }, input.spec.notifyReady.source)];
}

/** A machine of the foreground ends with its supervisor: nobody comes after it. */
function rendezvous({ request, places }: PlanInput): Step[] {
  return request.foreground ? [] : [host("rendezvous", { directory: places.record })];
}

/** It is compiled while the keeper and init are cloned and the kernel's file systems are made, which takes as long. */
const WHOLE = "the program is whole";
/** Long before it is needed. */
const GO_ON = "init has its score";

function startKeeper(input: PlanInput, limits: Limit[]): Step[] {
  return [
    ...makeCgroup(input, "before"),
    host("hand-over", { title: `berth-keeper: ${input.spec.name}` }),
    ...makeCgroup(input, "after"),
    ...delegateCgroup(input),
    host("signal", { sync: 2, to: "keeper", says: WHOLE, carries: [] }),
    keeper("begin-keeper", { foreground: input.request.foreground }),
    keeper("raise-limits", { limits }),
    ...enterCgroup(input),
    keeper("unshare-mounts", {}),
  ];
}

/**
 * A network namespace takes the kernel longer than all the rest of a clone, and ids that are mapped before init is there
 * are nothing that it has to wait for. Without a user namespace there is nothing to wait for, and nobody else to own a network.
 */
function madeAhead({ spec }: PlanInput): Namespace[] {
  if (spec.privateUsers.value.mode === "no") return [];
  return spec.privateNetwork.value ? ["user", "net"] : ["user"];
}

function cloneInit(input: PlanInput): Step[] {
  const { spec } = input;
  const ahead = madeAhead(input);
  const namespaces: Namespace[] = ["pid", "uts"];
  if (spec.privateUsers.value.mode !== "no") namespaces.unshift("user");
  if (spec.privateNetwork.value) namespaces.push("net");
  return [
    ...joinNetwork(input),
    keeper("clone-init", { namespaces, ahead, cgroup: "payload" }, spec.privateUsers.source),
    keeper("signal", { sync: 4, to: "host", says: "init is cloned", carries: ["leader"] }),
    ...beginInit(input),
    keeper("await", { sync: 2, from: "host", says: WHOLE, carries: [] }),
    keeper("take-whole", {}),
    keeper("signal", { sync: 6, to: "init", says: WHOLE, carries: [] }),
    init("await", { sync: 6, from: "keeper", says: WHOLE, carries: [] }),
    init("take-whole", {}),
    host("await", { sync: 4, from: "keeper", says: "init is cloned", carries: ["leader"] }),
    host("set-oom-score", { of: "init", score: spec.oomScoreAdjust.value }, spec.oomScoreAdjust.source),
    host("signal", { sync: 7, to: "keeper", says: GO_ON, carries: [] }),
  ];
}

/** What the keeper waits for: the machine's namespaces, and file systems that show them. */
function beginInit(input: PlanInput): Step[] {
  return [
    ...labelProcess(input),
    init("become-root", { foreground: input.request.foreground }),
    init("unshare", { namespaces: ["cgroup", "ipc"] }),
    ...apiFileSystems(input),
  ];
}

/** Of the namespaces that the stage has made. */
function mapUsers(input: PlanInput): Step[] {
  const { source } = input.spec.privateUsers;
  const namespaces = madeAhead(input);
  const range = idRange(input);
  return [
    ...(namespaces.length > 0 ? [host("open-namespaces", { namespaces }, source)] : []),
    ...(range === null ? [] : [host("write-id-maps", range, source)]),
    ...mapOwners(input),
  ];
}

/** Trees and bind sources keep the ids they have on disk; the mount shows them as the machine's. */
function mapOwners(input: PlanInput): Step[] {
  const { spec } = input;
  if (spec.privateUsers.value.mode === "no") return [];
  const { source } = spec.privateUsers;
  const kind = rootKind(spec);
  return [
    ...mapRoot(input),
    ...mapOldRoot(input),
    ...(kind === "layer" ? [host("map-owners", { fd: "layer", recursive: false, mapping: null }, source)] : []),
    ...mapBinds(input),
    ...mapLayers(input),
    ...mapHomes(input),
  ];
}

function mapRoot(input: PlanInput): Step[] {
  if (isStack(input)) return mapStack(input);
  if (isDisk(input)) return mapDisk(input);
  return mapTree(input, rootKind(input.spec) === "memory" ? "usr" : "root", true, input.spec.privateUsers);
}

/** What init can do by itself, while the keeper assembles the root. */
function prepareInit(input: PlanInput): Step[] {
  const { value: own, source } = input.spec.privateNetwork;
  return [
    init("start-session", {}),
    ...(own ? [init("loopback-up", {}, source)] : []),
    ...identify(input),
    ...choosePersonality(input),
    ...chooseProcessors(input),
    ...giveUp(input),
  ];
}

function assembleRoot(input: PlanInput): Step[] {
  const { capabilities } = input.host;
  // Keeper and init work at the same time, unless the root itself is one of the file systems that init makes.
  const first = awaitsRoot(input);
  return [
    keeper("act-as", { uid: rootId(input), capabilities }, input.spec.privateUsers.source),
    ...(first ? awaitApiFileSystems(input) : []),
    ...attachRoot(input),
    ...freshFileSystems(input),
    ...publishIdentity(input),
    ...(first ? [] : awaitApiFileSystems(input)),
    ...attachApiFileSystems(input),
    ...maskKernel(),
    ...attachConsole(input),
    ...attachOldRoot(input),
    ...attachCustomMounts(input),
    ...attachJournal(input),
    ...configureTree(input),
    ...lockRoot(input),
    keeper("enter-root", {}),
    keeper("leave-root", {}),
  ];
}

function finishInit(input: PlanInput): Step[] {
  const says = "the root is assembled";
  return [
    keeper("await", { sync: 7, from: "host", says: GO_ON, carries: [] }),
    keeper("signal", { sync: 8, to: "host", says, carries: ["console"] }),
    host("await", { sync: 8, from: "keeper", says, carries: ["console"] }),
    keeper("signal", { sync: 9, to: "init", says, carries: [] }),
    init("await", { sync: 9, from: "keeper", says, carries: [] }),
    init("lock-mounts", {}),
    ...ownMounts(input),
    ...stayAsInit(input),
    ...connectStdio(input),
    ...becomeUser(input),
    ...changeDirectory(input),
    ...lastLimits(input),
    ...confine(input),
    ...executePayload(input),
    host("await", { sync: 10, from: "init", says: "the payload has been executed", carries: [] }),
  ];
}
