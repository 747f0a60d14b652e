import { visible } from "../spec/quote.ts";
import type { PackageChanges } from "./packages.ts";
import type { Change, Difference } from "./tree-diff.ts";

/** A path of bytes as text; bytes that are no text are shown as `\xNN`. */
export function pathText(path: string): string {
  const bytes = Buffer.from(path, "latin1");
  const text = bytes.toString("utf8");
  if (Buffer.from(text, "utf8").equals(bytes)) return text;
  return path.replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
}

const LETTERS = { added: "A", removed: "D", changed: "M" } as const;

/** `M /etc/passwd  mode 0644 -> 0600, content` */
export function changeLine({ path, change, type, what }: Change): string {
  const slash = type === "directory" && path !== "/" ? "/" : "";
  const differences = what.length === 0 ? "" : `  ${what.map(differenceText).join(", ")}`;
  return visible(`${LETTERS[change]} ${pathText(path)}${slash}${differences}`);
}

function differenceText({ aspect, from, to }: Difference): string {
  if (from === null || to === null) return aspect;
  if (aspect === "attributes") return `attribute ${from}`;
  return `${aspect} ${pathText(from)} -> ${pathText(to)}`;
}

export function packageLines({ manager, added, removed, changed }: PackageChanges): readonly string[] {
  if (added.length + removed.length + changed.length === 0) return [];
  return [
    `packages (${manager}):`,
    ...added.map(({ name, version }) => `  added    ${name} ${version}`),
    ...removed.map(({ name, version }) => `  removed  ${name} ${version}`),
    ...changed.map(({ name, from, to }) => `  changed  ${name} ${from} -> ${to}`),
  ].map(visible);
}
