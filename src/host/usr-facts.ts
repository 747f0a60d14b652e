import { errorCode } from "../errors.ts";
import type { UsrFacts } from "../plan/facts.ts";
import { InRoot, type TreeRoot } from "./in-root.ts";

/** Directories of programs and libraries, and where in /usr each may be: file-hierarchy(7), "Compatibility Symlinks". */
const DIRECTORIES: Readonly<Record<string, readonly string[]>> = {
  bin: ["usr/bin"],
  sbin: ["usr/sbin"],
  lib: ["usr/lib"],
  lib32: ["usr/lib32"],
  lib64: ["usr/lib64"],
  libx32: ["usr/libx32"],
};

/** Of a tree of Debian's, where nobody may look (planning without root). */
const ASSUMED: UsrFacts = {
  links: { bin: "usr/bin", sbin: "usr/sbin", lib: "usr/lib", lib64: "usr/lib64" },
  bin: null,
};

/**
 * What a root that has only the tree's /usr is to have beside it: the tree's own links into /usr, where it has them, and
 * else links to what is in /usr.
 */
export function readUsrFacts(root: TreeRoot): UsrFacts {
  let tree: InRoot | null = null;
  try {
    tree = new InRoot(root);
    return factsOf(tree);
  } catch (error) {
    const code = errorCode(error);
    if (code === "EACCES" || code === "EPERM") return ASSUMED;
    throw error;
  } finally {
    tree?.close();
  }
}

function factsOf(tree: InRoot): UsrFacts {
  const links = Object.entries(DIRECTORIES).flatMap(([name, candidates]) => {
    const target = linkTarget(tree, name) ?? candidates.find((path) => isDirectory(tree, `/${path}`));
    return target === undefined ? [] : [[name, target] as const];
  });
  const bin = tree.lstat("/bin")?.type ?? "symlink";
  return { links: Object.fromEntries(links), bin: bin === "symlink" ? null : bin === "directory" ? bin : "other" };
}

/** Where a link of the tree's root really ends, if that is a directory in /usr. */
function linkTarget(tree: InRoot, name: string): string | undefined {
  if (tree.lstat(`/${name}`)?.type !== "symlink") return undefined;
  const place = tree.resolve(`/${name}`);
  return place?.type === "directory" && place.path.startsWith("/usr/") ? place.path.slice(1) : undefined;
}

function isDirectory(tree: InRoot, path: string): boolean {
  return tree.resolve(path)?.type === "directory";
}
