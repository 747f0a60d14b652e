import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors.ts";
import { runConfined } from "../../host/confine.ts";
import { removeLargeTree } from "../../host/remove-tree.ts";
import type { Driver } from "../../image/driver.ts";
import { EXTRACT_CAPABILITIES } from "../extract.ts";
import { guardSpace } from "../free-space.ts";
import type { Control } from "../transfer.ts";
import { unpackLayer } from "./unpack.ts";

/**
 * Layers of an OCI image, from the lowest, become one tree: each is unpacked by itself, as any archive is, and then put over
 * what is there. What it has in the place of something of another kind is instead of that, what it has a whiteout for
 * (`.wh.NAME`; `.wh..wh..opq`: all that was in the directory) is gone. Where a path of it leads through what is a link
 * below, the link goes: nothing is ever reached by one.
 */

/**
 * Arguments: how cp(1) gives files to the tree. Seen are ROOT, the tree, and LAYER, which nobody else changes meanwhile. Order
 * counts: what a layer takes away was below it, and find(1) comes to a directory before it comes to what is in it, so that
 * whatever is above a path in ROOT is a directory by then, and no link.
 */
const MERGE = `
set -e
cd /tree
as_owner() { with_capabilities ${EXTRACT_CAPABILITIES} "$@"; }
# Directories that the layer has only as ways to what is in it stay as they were below, unless it takes away what was there.
as_owner xargs -0r sh -c '
  is() { [ -e "$1" ] || [ -L "$1" ]; }
  isBelow() {
    rest=$1
    at=
    while [ -n "$rest" ]; do
      if is "layer$at/.wh..wh..opq"; then return 1; fi
      part=\${rest%%/*}
      rest=\${rest#"$part"}
      if [ -n "$rest" ] && is "layer$at/.wh.$part"; then return 1; fi
      rest=\${rest#/}
      at=$at/$part
      if [ -L "root$at" ] || [ ! -d "root$at" ]; then return 1; fi
    done
  }
  for path; do
    isBelow "$path" || continue
    chown --reference="root/$path" "layer/$path"
    chmod --reference="root/$path" "layer/$path"
    touch --reference="root/$path" "layer/$path"
  done
' sh <ways
as_owner find layer -mindepth 1 -name '.wh.*' -exec sh -c '
  for path; do
    name=\${path##*/}
    parent=\${path%/*}
    below=root\${parent#layer}
    touch --reference="$parent" times
    # What is no whiteout of anything could have been made for what is outside.
    case $name in
      .wh..wh..opq) name= ;;
      .wh..wh.*) rm -rf "$path"; touch --reference=times "$parent"; continue ;;
      .wh. | .wh..  | .wh...) echo "berth-fault a whiteout of nothing: $path"; exit 1 ;;
      *) name=\${name#.wh.} ;;
    esac
    if [ -d "$path" ] && [ ! -L "$path" ]; then echo "berth-fault a whiteout that is a directory: $path"; exit 1; fi
    rest=\${below#root}
    at=root
    while [ -n "$rest" ]; do
      rest=\${rest#/}
      at=$at/\${rest%%/*}
      if [ -L "$at" ] || [ ! -d "$at" ]; then at=; break; fi
      case $rest in */*) rest=/\${rest#*/} ;; *) rest= ;; esac
    done
    if [ -n "$at" ]; then
      if [ -n "$name" ]; then rm -rf "$at/$name"
      else for child in "$at"/* "$at"/.[!.]* "$at"/..?*; do rm -rf "$child"; done
      fi
    fi
    rm -rf "$path"
    touch --reference=times "$parent"
  done
' sh {} +
as_owner find layer -mindepth 1 -exec sh -c '
  for path; do
    below=root\${path#layer}
    if [ -d "$path" ] && [ ! -L "$path" ]; then
      if [ -L "$below" ] || { [ -e "$below" ] && [ ! -d "$below" ]; }; then rm -f "$below"; fi
    elif [ -d "$below" ] && [ ! -L "$below" ]; then rm -rf "$below"
    fi
  done
' sh {} +
as_owner cp -a "$1" --remove-destination -T layer root
`;

const NUL = Buffer.alloc(1);

export interface Unpacking {
  readonly workspace: string;
  readonly driver: Driver;
  readonly control: Control;
}

/** Returns the tree. @throws BerthError for what is no layer */
export async function unpackLayers(
  paths: readonly string[],
  { workspace, driver, control }: Unpacking,
): Promise<string> {
  const directory = join(workspace, "layers");
  await mkdir(directory, { mode: 0o700 });
  const root = join(directory, "root");
  const layer = join(directory, "layer");
  driver.create(root);
  // Files have names in two directories for a moment, which they can't across a file system's own volumes.
  const give = driver.type === "subvolume" ? "--reflink=auto" : "--link";
  for (const [index, path] of paths.entries()) {
    control.log(`unpacking layer ${index + 1} of ${paths.length}`);
    const ways = await unpackLayer(path, directory, control);
    await writeFile(join(directory, "ways"), Buffer.concat(ways.flatMap((way) => [way, NUL])));
    await guardSpace(workspace, control.signal, (signal) => merge(directory, give, signal));
    await removeLargeTree(layer);
    control.progress((index + 1) / paths.length);
  }
  return root;
}

async function merge(directory: string, give: string, signal: AbortSignal): Promise<void> {
  const { ok, status, tail } = await runConfined(MERGE, [give], { directory, writable: true, signal });
  if (ok) return;
  const fault = tail.find((line) => line.startsWith("berth-fault "))?.slice("berth-fault ".length);
  throw new BerthError(`a layer of the image is refused: ${fault ?? tail.at(-1) ?? status}`, {
    hint: "nothing of it is left here",
  });
}
