import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mountPartNow } from "../host/disk-image/mount-part.ts";
import type { TreeRoot } from "../host/in-root.ts";
import { openTree } from "../host/open-tree.ts";
import { startTimeOf } from "../host/process-id.ts";
import { rootOf } from "../plan/pivot.ts";
import type { LaunchPlan, StepOf } from "../plan/step.ts";
import { hasOwnEtc } from "../plan/volatile.ts";
import { O_PATH } from "../sys/constants.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import type { MachineRecord } from "./record.ts";

/**
 * The tree of a running machine as the host sees it, with what an ephemeral one has changed: a look through the
 * machine's own mounts could wait for ever on one that it serves itself.
 */
export interface RunningTree extends Disposable {
  /** Laid over each other, the topmost first. */
  readonly roots: readonly TreeRoot[];
  /** What is mounted below a root is the machine's. */
  readonly ownMount: boolean;
}

/** `plan`: of a machine whose plan can't be read, its tree. @throws BerthError when that can't be opened */
export function openRunningTree(machine: MachineRecord, plan: LaunchPlan | null): RunningTree {
  const disk = plan?.steps.find(isRootPart);
  if (plan !== null && disk !== undefined) return openDisk(machine, plan, disk);
  const opened = openTree(machine.root);
  const inside = plan === null ? "/" : rootOf(plan);
  const trees = opened.roots.map((tree) => ({ tree, inside }));
  return {
    roots: [...changed(machine, plan), ...trees],
    ownMount: false,
    [Symbol.dispose]: () => opened[Symbol.dispose](),
  };
}

function changed({ layer }: MachineRecord, plan: LaunchPlan | null): readonly string[] {
  return layer === null || plan === null || hasOwnEtc(plan) ? [] : [join(layer, "data")];
}

type RootPart = StepOf<"mount-part">;

function isRootPart(step: LaunchPlan["steps"][number]): step is RootPart {
  return step.kind === "mount-part" && step.args.fd === "root";
}

/** What is on a disk is whole only where it is mounted. Of one that nobody writes to that may be anywhere. */
function openDisk(machine: MachineRecord, plan: LaunchPlan, { args: { image, part, access } }: RootPart): RunningTree {
  const root = access === "writable" ? openOwnRoot(machine) : mountPartNow(image, part);
  return {
    roots: [...changed(machine, plan), ...(root === null ? [] : [`/proc/self/fd/${root}`])],
    ownMount: true,
    [Symbol.dispose]: () => {
      if (root !== null) closeQuietly(root);
    },
  };
}

/** Of a loop device, as the machine itself can have no other. */
const LOOP = /^7:\d+$/;

/** Null: its init has another root by now. */
function openOwnRoot({ leader: { pid, startTime } }: MachineRecord): number | null {
  const root = openSync(`/proc/${pid}/root`, O_PATH | O_DIRECTORY | constants.O_RDONLY);
  const id = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${root}`, "utf8"))?.[1];
  const mount = readFileSync(`/proc/${pid}/mountinfo`, "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .find(([own]) => own === id);
  if (startTimeOf(pid) === startTime && LOOP.test(mount?.[2] ?? "")) return root;
  closeSync(root);
  return null;
}
