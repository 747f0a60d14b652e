import { type CustomMount, customMounts } from "../spec/custom-mounts.ts";
import type { Problem } from "../spec/problem.ts";
import { error } from "../spec/problem.ts";
import { isFresh } from "./api-file-systems.ts";
import { attachBind } from "./binds.ts";
import { BLOCK } from "./id-blocks.ts";
import { idRange, type PlanInput, rootId } from "./input.ts";
import { keeper } from "./make-step.ts";
import { removesMountPoints } from "./root.ts";
import { withContext } from "./selinux.ts";
import type { Removal, Step } from "./step.ts";

/** What the settings mount, each after what it lies in. Targets are resolved in the root as it is by then. */
export function attachCustomMounts(input: PlanInput): Step[] {
  const mounts = customMounts(input.spec);
  return mounts.flatMap((mount, index) => attach(input, mount, removal(input, mount, mounts.slice(0, index))));
}

/** What an ephemeral machine's layer or a fresh file system holds goes with it. */
function removal(input: PlanInput, { target }: CustomMount, before: readonly CustomMount[]): Removal {
  if (before.some((other) => target.startsWith(`${other.target}/`))) return "after-failure";
  return removesMountPoints(input) && !isFresh(target);
}

function attach(input: PlanInput, mount: CustomMount, remove: Removal): Step[] {
  switch (mount.kind) {
    case "bind":
      return [attachBind(input, mount, remove)];
    case "tmpfs":
      return makeTmpfs(input, mount, remove);
    case "overlay":
      return [
        keeper(
          "attach",
          { fd: `overlay:${mount.index}`, target: mount.target, create: "directory", api: false, remove },
          mount.source,
        ),
      ];
    case "inaccessible":
      return [keeper("cover", { target: mount.target }, mount.source)];
  }
}

/** By the keeper, as the machine's root, and therefore not init's to unmount. */
function makeTmpfs(input: PlanInput, mount: Extract<CustomMount, { kind: "tmpfs" }>, remove: Removal): Step[] {
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
