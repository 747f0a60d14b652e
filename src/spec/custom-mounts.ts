import type { Bind, MachineSpec, Overlay, TemporaryFileSystem } from "./machine-spec.ts";
import type { Source, Sourced } from "./source.ts";

/** What the settings mount in a machine, besides what every machine has. */
export type CustomMount = (
  | { readonly kind: "bind"; readonly value: Bind }
  | { readonly kind: "tmpfs"; readonly value: TemporaryFileSystem }
  | { readonly kind: "overlay"; readonly value: Overlay }
  | { readonly kind: "inaccessible" }
) & {
  readonly target: string;
  readonly source: Source;
  /** Names its fds; the position in its own list of the spec. */
  readonly index: number;
};

/** Of the same target, later kinds lie over earlier ones. */
const KINDS: readonly CustomMount["kind"][] = ["bind", "tmpfs", "overlay", "inaccessible"];

/**
 * In the order they are mounted, which is systemd-nspawn's: by target, so that whatever lies in another is mounted after
 * it, wherever it was written; of one target by kind, and then as written.
 */
export function customMounts({
  binds,
  temporaryFileSystems,
  overlays,
  inaccessible,
}: MachineSpec): readonly CustomMount[] {
  const mounts: CustomMount[] = [
    ...binds.map((each, index) => ({ kind: "bind" as const, ...placed(each, index) })),
    ...temporaryFileSystems.map((each, index) => ({ kind: "tmpfs" as const, ...placed(each, index) })),
    ...overlays.map((each, index) => ({ kind: "overlay" as const, ...placed(each, index) })),
    ...inaccessible.map(({ value, source }, index) => ({
      kind: "inaccessible" as const,
      target: value,
      source,
      index,
    })),
  ];
  return mounts.toSorted((a, b) => compareTargets(a.target, b.target) || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}

function placed<T extends { readonly target: string }>({ value, source }: Sourced<T>, index: number) {
  return { value, source, target: value.target, index };
}

/** Name by name, so that `/a/b` comes after `/a` and before `/a-b`. */
function compareTargets(a: string, b: string): number {
  const [left, right] = [a.split("/"), b.split("/")];
  const at = left.findIndex((name, index) => name !== right[index]);
  if (at === -1) return left.length - right.length;
  const [first, second] = [left[at] ?? "", right[at]];
  return second === undefined || first > second ? 1 : -1;
}
