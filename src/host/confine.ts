import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BerthError } from "../errors.ts";
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY, O_PATH } from "../sys/constants.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { mountLayers, setMountAttributes } from "../sys/mounts.ts";
import type { CommandResult } from "./command.ts";
import { findProgram } from "./find-program.ts";
import { runInView, type ViewOptions } from "./run-in-view.ts";
import type { Rights, View, ViewMount } from "./view-image.ts";
import { CONFINED, makeViewRoot, mountOf, PROGRAMS } from "./view-mounts.ts";

/** What a confined program sees as /tree: all there is besides the host's programs, which can't be written to. */
export interface ConfinedTree {
  /** A directory, or a file. */
  readonly directory: string;
  /** It is a file, or a block device. */
  readonly isFile?: "file" | "device";
  /** Detached mounts that are there in place of the directory, the one on `/` first: to be read only. They stay the caller's. */
  readonly mounts?: readonly ViewMount[];
  /** Or these below it, laid over each other, the topmost first: to be read only. */
  readonly layers?: readonly string[] | undefined;
  readonly writable: boolean;
  /** What this host calls its users and groups is known there too. */
  readonly names?: boolean;
}

export interface ConfinedOptions extends ViewOptions, ConfinedTree {}

const SCRIPT = `
set -eu
# Who parses what somebody else made needs no rights at all; who makes or reads files of all owners needs these.
as_nobody() {
  setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
}
# The same for a file that is root's alone, of which there is no other in the view.
as_reader() {
  setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all,+dac_read_search --inh-caps=-all,+dac_read_search \\
    --ambient-caps=-all,+dac_read_search --no-new-privs "$@"
}
with_capabilities() {
  capabilities=$1
  shift
  setpriv --bounding-set="-all,$capabilities" --inh-caps=-all --no-new-privs "$@"
}
`;

/**
 * Runs a script of programs that read what is not trusted: in namespaces of its own, where the file system is a read-only
 * view of the host's programs and one directory, no device can be opened, and there is no network and no other process.
 */
export function runConfined(
  script: string,
  words: readonly string[],
  options: ConfinedOptions,
): Promise<CommandResult> {
  const argv = ["sh", "-c", `${SCRIPT}${script}`, "berth-transfer", ...words];
  return runInView({ program: "/bin/sh", argv }, (stack) => openView(options, stack), options);
}

/**
 * The same of one program of the host, which has these rights alone: no shell and no setpriv(1) stand before it. `tree`: null where it
 * needs none, as what it reads and writes is open. @throws BerthError where there is no such program
 */
export function runConfinedAlone(
  argv: readonly string[],
  rights: Rights,
  tree: ConfinedTree | null,
  options: ViewOptions,
): Promise<CommandResult> {
  const [name = ""] = argv;
  const program = findConfined(name);
  if (program === undefined)
    throw new BerthError(`there is no ${name} in the /usr of this host, which is all that a confined program sees`, {
      hint: "install it there: what is mounted below /usr, or linked to from it, is not seen",
    });
  return runInView({ program, argv, rights }, (stack) => openView(tree, stack), options);
}

/** The path of a program in such a view; undefined: none of this name is in it. */
export function findConfined(name: string): string | undefined {
  return findProgram(name, placeInView);
}

function openView(tree: ConfinedTree | null, stack: DisposableStack): View {
  const own = (fd: number): number => stack.adopt(fd, closeQuietly);
  const root = own(makeViewRoot("berth-view"));
  const at = `/proc/self/fd/${root}`;
  // For what a script mounts itself.
  mkdirSync(`${at}/old`);
  const programs = placePrograms(at).map((name) => ({ fd: own(mountOf(`/${name}`, PROGRAMS)), at: name }));
  if (tree === null) return { root, mounts: programs, directory: "/" };
  if (tree.isFile === undefined) mkdirSync(`${at}/tree`);
  else writeFileSync(`${at}/tree`, "");
  if (tree.names === true) placeNames(at);
  return {
    root,
    mounts: [...programs, ...treeOf(tree, own)],
    directory: tree.isFile === undefined ? "/tree" : "/",
  };
}

/** What of the host programs and their libraries are in: directories, or links to them. */
const PROGRAM_PLACES = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/** Where a program of the host is in a view, which has none of its other mounts, and nothing that a link leads out to. Undefined: nowhere. */
function placeInView(path: string): string | undefined {
  const real = realpathSync(path);
  const [, top = ""] = real.split("/");
  const isSeen = PROGRAM_PLACES.includes(top) && statSync(real).dev === statSync(`/${top}`).dev;
  return isSeen ? real : undefined;
}

/** Makes in the root `at` what the host has of these: links, and for the names that are returned directories. */
function placePrograms(at: string): readonly string[] {
  return PROGRAM_PLACES.filter((name) => {
    const found = lstatSync(`/${name}`, { throwIfNoEntry: false });
    if (found?.isSymbolicLink()) symlinkSync(readlinkSync(`/${name}`), `${at}/${name}`);
    if (!found?.isDirectory()) return false;
    mkdirSync(`${at}/${name}`);
    return true;
  });
}

/** Without their nsswitch.conf(5) these two are what libc looks into. */
function placeNames(at: string): void {
  mkdirSync(`${at}/etc`);
  for (const path of ["/etc/passwd", "/etc/group"]) if (existsSync(path)) copyFileSync(path, `${at}${path}`);
}

function treeOf(
  { directory, isFile, mounts = [], layers = [], writable }: ConfinedTree,
  own: (fd: number) => number,
): readonly ViewMount[] {
  const readOnly = CONFINED | MOUNT_ATTR_RDONLY;
  for (const { fd, at } of mounts) setMountAttributes(fd, { set: readOnly }, false, at);
  if (mounts.length > 0) return mounts.map(({ fd, at }) => ({ fd, at: join("tree", at) }));
  const [first, ...others] = layers.map((layer) => join(directory, layer));
  const attributes = (writable ? CONFINED : readOnly) & (isFile === "device" ? ~MOUNT_ATTR_NODEV : ~0);
  if (first === undefined) return [{ fd: own(mountOf(directory, attributes)), at: "tree" }];
  if (others.length === 0) return [{ fd: own(mountOf(first, readOnly)), at: "tree" }];
  const opened = [first, ...others].map((path) => own(openSync(path, O_PATH | O_DIRECTORY)));
  return [{ fd: own(mountLayers(opened)), at: "tree" }];
}
