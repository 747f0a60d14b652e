import { type CustomMount, customMounts } from "../spec/custom-mounts.ts";
import type { Problem } from "../spec/problem.ts";
import { error } from "../spec/problem.ts";
import { attachBind } from "./binds.ts";
import { BLOCK } from "./id-blocks.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { keeper } from "./make-step.ts";
import { removesMountPoints } from "./root.ts";
import { withContext } from "./selinux.ts";
import type { Step } from "./step.ts";

/** What the settings mount, each after what it lies in. Targets are resolved in the root as it is by then. */
export function attachCustomMounts(input: PlanInput): Step[] {
  return customMounts(input.spec).flatMap((mount) => attach(input, mount));
}

function attach(input: PlanInput, mount: CustomMount): Step[] {
  switch (mount.kind) {
    case "bind":
      return [attachBind(input, mount)];
    case "tmpfs":
      return makeTmpfs(input, mount);
  }
}

/** By the keeper, as the machine's root, and therefore not init's to unmount. */
function makeTmpfs(input: PlanInput, mount: Extract<CustomMount, { kind: "tmpfs" }>): Step[] {
  const { target, source, index } = mount;
  const { mode, uid, gid, flags, options } = mount.value;
  const fd = `tmpfs:${index}`;
  const root = rootId(input);
  const all = [
    ...(mode === null ? [] : [`mode=${mode.toString(8)}`]),
    ...(uid === 0 ? [] : [`uid=${root + uid}`]),
    ...(gid === 0 ? [] : [`gid=${root + gid}`]),
    ...options,
  ];
  const remove = removesMountPoints(input);
  return [
    keeper("make-file-system", { fd, type: "tmpfs", options: withContext(input, all), flags: [...flags] }, source),
    keeper("attach", { fd, target, create: "directory", api: false, remove }, source),
  ];
}

/** Owners that the machine does not have nobody could be. */
export function tmpfsOwnersFit(input: PlanInput): readonly Problem[] {
  const { spec, machine } = input;
  if (spec.privateUsers.value.mode === "pick" && machine.rangeBase === null) return []; // said elsewhere
  const range = idRange(input);
  if (range === null) return [];
  return spec.temporaryFileSystems.flatMap(({ value: { uid, gid }, source }) => {
    const foreign = [uid, gid].find((id) => id >= range.size);
    if (foreign === undefined) return [];
    const hint = range.size < BLOCK ? "PrivateUsers=BASE:SIZE gives it more" : undefined;
    return [error(source, `TemporaryFileSystem=: id ${foreign} is beyond the machine's own`, hint)];
  });
}
