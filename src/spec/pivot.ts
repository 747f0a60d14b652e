import type { MachineSpec } from "./machine-spec.ts";
import { error, type Problem } from "./problem.ts";
import { quote } from "./quote.ts";

/** The directory of the tree that becomes the machine's `/`. */
export function rootInTree({ pivotRoot }: Pick<MachineSpec, "pivotRoot">): string {
  return pivotRoot.value?.newRoot ?? "/";
}

/** Where in the tree a path is that the machine sees. */
export function pathInTree({ pivotRoot: { value } }: Pick<MachineSpec, "pivotRoot">, path: string): string {
  if (value === undefined) return path;
  const { newRoot, oldRoot } = value;
  if (oldRoot !== null && (path === oldRoot || path.startsWith(`${oldRoot}/`)))
    return path.slice(oldRoot.length) || "/";
  return path === "/" ? newRoot : `${newRoot}${path}`;
}

export function pivotRoots({ pivotRoot: { value, source }, ownership }: MachineSpec): readonly Problem[] {
  if (value === undefined) return [];
  const { newRoot, oldRoot } = value;
  return [
    ...(newRoot === "/" ? [error(source, "the new root is the tree's own", "a directory in it is meant")] : []),
    ...(oldRoot !== null && /^\/((proc|sys)(\/.*)?|dev)?$/.test(oldRoot)
      ? [error(source, `the old root can't be at ${quote(oldRoot)}, which the machine needs for itself`)]
      : []),
    ...(ownership.value === "chown"
      ? [error(source, "PivotRoot= and PrivateUsersOwnership=chown exclude each other", "map changes nothing on disk")]
      : []),
  ];
}
