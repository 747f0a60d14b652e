/** What a copy of a tree has to keep, as text to compare: one line a file, in the order of their names. */
import { spawnSync } from "node:child_process";

/** find(1): path, type, mode, owner, size of files, mtime, links of files, target. */
const FORMAT = "%P %y %m %U:%G ";
const FILE = `${FORMAT}%s %T@ %n\\n`;
const OTHER = `${FORMAT}%T@ %l\\n`;

export function manifest(tree: string): string[] {
  return [
    ...sorted("find", [tree, "(", "-type", "f", "-printf", FILE, "-o", "-printf", OTHER, ")"]),
    ...hardLinks(tree),
    ...sorted("getcap", ["-r", tree]).map((line) => line.replace(tree, "")),
    `archive ${digest(tree)}`,
  ];
}

/** Contents, ACLs and all extended attributes, which no tool lists that is always there; not when it was read. */
function digest(tree: string): string {
  const script = `tar -C "$1" --acls --xattrs --xattrs-include='*' --sort=name \
    --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' -c . | sha256sum`;
  return sorted("bash", ["-o", "pipefail", "-c", script, "bash", tree]).join();
}

/** Inode numbers differ in a copy, the sets of names that share one do not. */
function hardLinks(tree: string): string[] {
  const byInode = Map.groupBy(sorted("find", [tree, "-type", "f", "-links", "+1", "-printf", "%i %P\\n"]), (line) =>
    line.slice(0, line.indexOf(" ")),
  );
  return [...byInode.values()]
    .map((lines) => lines.map((line) => line.slice(line.indexOf(" ") + 1)).join(" = "))
    .sort();
}

function sorted(program: string, args: readonly string[]): string[] {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 2 ** 27 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return stdout.split("\n").filter(Boolean).sort();
}
