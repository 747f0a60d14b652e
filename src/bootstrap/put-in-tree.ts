import { dirname, join, posix } from "node:path";
import { BerthError } from "../errors.ts";
import { InRoot } from "../host/in-root.ts";
import { runInToolView } from "./confine-tool.ts";
import { writeToolFile } from "./tool-directory.ts";

/** What is to be in a tree. Directories on the way to it are made, root's. */
export interface TreeEntry {
  /** In the tree, absolute. */
  readonly path: string;
  /** Null: a directory. */
  readonly content: Buffer | string | null;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a new directory: with what /etc/skel of the tree has, as a home. */
  readonly skeleton?: boolean;
}

/** Arguments: six for each entry. */
const SCRIPT = `
set -eu
cd /tree
while [ "$#" -gt 0 ]; do
  path=$1 mode=$2 uid=$3 gid=$4 content=$5 skeleton=$6
  shift 6
  mkdir -p "$(dirname "$path")"
  if [ "$content" = "" ]; then
    if [ ! -d "$path" ]; then
      mkdir "$path"
      if "$skeleton" && [ -d ./etc/skel ] && [ ! -L ./etc ] && [ ! -L ./etc/skel ]; then cp -a -T ./etc/skel "$path"; fi
    fi
    chown -hR "$uid:$gid" "$path"
    chmod "$mode" "$path"
  else
    rm -f "$path"
    cp -T "/tool/$content" "$path"
    chown "$uid:$gid" "$path"
    chmod "$mode" "$path"
  fi
done
`;

/**
 * Puts files and directories into the tree `directory`/tree, where the tree's own links lead (but not its last one, which
 * a file replaces). Nothing can get out of it.
 */
export async function putInTree(directory: string, entries: readonly TreeEntry[], signal: AbortSignal): Promise<void> {
  if (entries.length === 0) return;
  const words: string[] = [];
  for (const [index, { path, content, mode, uid, gid, skeleton = false }] of entries.entries()) {
    const name = content === null ? "" : `put/${index}`;
    if (content !== null) await writeToolFile(directory, name, content);
    const place = `.${realPlace(join(directory, "tree"), path)}`;
    words.push(place, mode.toString(8), String(uid), String(gid), name, String(skeleton));
  }
  const result = await runInToolView(["sh", "-c", SCRIPT, "berth-put", ...words], { directory, may: "fetch", signal });
  if (!result.ok) throw new BerthError(`cannot put files into the tree: ${result.tail.at(-1) ?? result.status}`);
}

/** Without links on the way, which would lead elsewhere in the view. Nobody changes the tree meanwhile. */
function realPlace(tree: string, path: string): string {
  const root = new InRoot(tree);
  try {
    const missing: string[] = [posix.basename(path)];
    for (let parent = dirname(path); parent !== "/"; parent = dirname(parent)) {
      const entry = root.resolve(parent);
      if (entry !== null && entry.type !== "directory")
        throw new BerthError(`cannot put ${path} into the tree: ${parent} is no directory`);
      if (entry !== null) return posix.join(entry.path, ...missing);
      if (root.lstat(parent) !== null)
        throw new BerthError(`cannot put ${path} into the tree: ${parent} is a link to nothing`);
      missing.unshift(posix.basename(parent));
    }
    return posix.join("/", ...missing);
  } finally {
    root.close();
  }
}
