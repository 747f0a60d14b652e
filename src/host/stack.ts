import { closeSync, type Dirent, existsSync, lstatSync, openSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { quote } from "../spec/quote.ts";
import { O_PATH } from "../sys/constants.ts";
import { O_DIRECTORY, O_NOFOLLOW } from "../sys/files.ts";
import { getAttribute } from "../sys/owners.ts";

/**
 * A stack of layers on disk, `NAME.mstack`, as systemd.mstack(7) has it: `layer@NN`, the last one the uppermost, and
 * what is written in `rw`. Of what that page knows berth has layers in directories only, which a link of the stack leads
 * to: one that berth keeps in the store's `.berth-layers`, or a directory of the stack itself.
 *
 * All of it is root's: what a machine writes is in `rw/data`, and that is its root directory.
 */
export interface Stack {
  readonly path: string;
  /** Directories, the topmost first. */
  readonly layers: readonly string[];
  /** Has `data` and `work`, an overlay's upper and work directory. Null: nothing can be written. */
  readonly rw: string | null;
}

/** Where a store keeps layers, each in a directory of its own. */
export const LAYERS = ".berth-layers";

/** What a stack's link to one says, and no more: its tree, or what was written to a stack that was sealed. */
const LINK = new RegExp(`^\\.\\./\\${LAYERS}/([A-Za-z0-9][A-Za-z0-9_-]{0,127})/(tree|rw/data)$`);

const LAYER = "layer@";
export const RW = "rw";

/** @throws BerthError when it is none that can be used; the errno error where there is nothing that can be read */
export function readStack(path: string): Stack {
  // What is hidden is nobody's layer: to systemd as well.
  const entries = readdirSync(path, { withFileTypes: true }).filter(({ name }) => !name.startsWith("."));
  for (const { name } of entries)
    if (name !== RW && !name.startsWith(LAYER)) throw unusable(path, `it has ${quote(name)}, which no layer is called`);
  const store = storeOf(path);
  const layers = entries
    .filter(({ name }) => name !== RW)
    .sort((a, b) => (orderOf(a.name) < orderOf(b.name) ? 1 : -1))
    .map((entry) => layerOf(path, entry, store));
  if (layers.length === 0) throw unusable(path, "it has no layer");
  const rw = entries.find(({ name }) => name === RW);
  if (rw !== undefined && !rw.isDirectory()) throw unusable(path, "its rw is no directory");
  return { path, layers, rw: rw === undefined ? null : join(path, RW) };
}

/** Whether it is marked read-only: nobody may write to its directory, which keeps nobody from what is in it. */
export function isStackMarked(path: string): boolean {
  return (statSync(path).mode & WRITABLE) === 0;
}

const WRITABLE = 0o222;

/** Names of the layers in the store that a stack's links lead to, whether they are there or not. */
export function layersNamedBy(path: string): readonly string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isSymbolicLink() && entry.name.startsWith(LAYER))
    .flatMap(({ name }) => LINK.exec(readlinkSync(join(path, name)))?.[1] ?? []);
}

/** Whether nothing is in it but links to layers. */
export function isUnwritten(path: string): boolean {
  const data = join(path, RW, "data");
  return linksOf(path) !== null && (!existsSync(data) || readdirSync(data).length === 0);
}

/** What its links say, the lowest first. Null: some of its layers are directories of its own. */
export function linksOf(path: string): readonly string[] | null {
  const layers = readdirSync(path, { withFileTypes: true })
    .filter(({ name }) => name.startsWith(LAYER))
    .sort((a, b) => (orderOf(a.name) < orderOf(b.name) ? -1 : 1));
  return layers.every((entry) => entry.isSymbolicLink())
    ? layers.map(({ name }) => readlinkSync(join(path, name)))
    : null;
}

/** What there is of a stack's tree, topmost first, laid over each other. */
export function rootsOf({ layers, rw }: Stack): readonly string[] {
  return rw === null ? layers : [join(rw, "data"), ...layers];
}

/** Those of these roots that the merged /usr is made of: below one that hides the others, or has removed it, there is no more. */
export function usrRoots(roots: readonly string[]): readonly string[] {
  const found: string[] = [];
  for (const root of roots) {
    const usr = lstatSync(join(root, "usr"), { throwIfNoEntry: false });
    if (usr === undefined) continue;
    if (!usr.isDirectory()) break;
    found.push(root);
    if (isOpaque(join(root, "usr"))) break;
  }
  return found;
}

/** overlayfs: nothing of the layers below shows in it. */
function isOpaque(directory: string): boolean {
  const fd = openSync(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  try {
    return getAttribute(fd, "user.overlay.opaque")?.toString() === "y";
  } finally {
    closeSync(fd);
  }
}

/** A stack that is being made, or is a snapshot, lies deeper in it: its links say the same, so that it can be moved. */
export function storeOf(stack: string): string {
  let store = dirname(stack);
  for (let up = 0; up < DEPTH && store !== "/"; up++, store = dirname(store))
    if (existsSync(join(store, LAYERS))) return store;
  return dirname(stack);
}

const DEPTH = 5;

function layerOf(stack: string, entry: Dirent, store: string): string {
  const link = entry.isSymbolicLink() ? readlinkSync(join(stack, entry.name)) : null;
  if (link !== null && !LINK.test(link))
    throw unusable(stack, `${entry.name} leads to ${quote(link)}`, `../${LAYERS}/ID/tree or ../${LAYERS}/ID/rw/data`);
  const layer = link === null ? join(stack, entry.name) : join(store, link.slice("../".length));
  if (!isDirectory(layer)) throw unusable(stack, `${entry.name}: ${layer} is no directory, or gone`);
  return layer;
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** As strverscmp(3): numbers in names count as numbers. */
function orderOf(name: string): string {
  return name.replace(/\d+/g, (digits) => digits.padStart(NUMBER_WIDTH, "0"));
}

const NUMBER_WIDTH = 20;

function unusable(path: string, why: string, expected?: string): BerthError {
  return new BerthError(`${path} can't be used as a stack of layers: ${why}${expected ? `, not ${expected}` : ""}`, {
    hint: `${basename(path)} is berth's own to change; systemd.mstack(7) says what else there could be in it`,
  });
}
