import { type OpenTree, openTree } from "./open-tree.ts";
import { kindOfTree } from "./tree-place.ts";

/** The same as openTree, also of disk images: programs of the system look at those first. @throws BerthError */
export async function openImage(image: string): Promise<OpenTree> {
  if (kindOfTree(image) !== "disk") return openTree(image);
  const { openDiskTree } = await import("./disk-image/disk-tree.ts");
  return openDiskTree(image);
}
