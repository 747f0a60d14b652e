import { closeSync, constants, openSync, readFileSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { BerthError, errorCode } from "../errors.ts";
import { writeText } from "../host/write-text.ts";
import { quote } from "../spec/quote.ts";
import { lockWaiting } from "../sys/files.ts";
import { mountOf } from "../sys/mount-id.ts";

/** What berth has mounted in a running machine. */
export interface LiveMount {
  readonly id: string;
  /** Start time of the machine's leader: ids are given again by kernels that have no better ones. */
  readonly boot: string;
  readonly target: string;
  readonly source: string;
}

/** Those of a boot; none where the list is missing or damaged, and then none of them can be unbound. */
export function listMounts(file: string, boot: string): readonly LiveMount[] {
  return readList(file).filter((mount) => mount.boot === boot);
}

function readList(file: string): readonly LiveMount[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.filter(isLiveMount) : [];
  } catch {
    return [];
  }
}

function isLiveMount(value: unknown): value is LiveMount {
  if (typeof value !== "object" || value === null) return false;
  const fields: Partial<Record<keyof LiveMount, unknown>> = value;
  return [fields.id, fields.boot, fields.target, fields.source].every((field) => typeof field === "string");
}

/** Adds the mount of `fd` to a list. Returns how to strike it out again. */
export function noteMount(file: string, fd: number, more: Omit<LiveMount, "id">): () => void {
  const { id } = mountOf(fd);
  changeList(file, (list) => [...list.filter(({ boot }) => boot === more.boot), { id, ...more }]);
  return () => strikeMount(file, id);
}

export function strikeMount(file: string, id: string): void {
  changeList(file, (list) => list.filter((mount) => mount.id !== id));
}

function changeList(file: string, change: (list: readonly LiveMount[]) => readonly LiveMount[]): void {
  const directory = dirname(file);
  const lock = openSync(directory, constants.O_DIRECTORY);
  try {
    lockWaiting(lock, directory);
    writeText(`${file}.new`, JSON.stringify(change(readList(file))));
    renameSync(`${file}.new`, file);
  } finally {
    closeSync(lock);
  }
}

/** @throws BerthError unless `fd` is what was mounted as one of `ids` */
export function checkMount(fd: number, target: string, ids: readonly string[]): void {
  const { id, isRoot } = mountOf(fd);
  if (ids.includes(id) && isRoot) return;
  const what = ids.includes(id) ? "lies below one that is bound" : "is none that berth bind has bound";
  throw new BerthError(`${quote(target)} ${what}`, {
    hint: "what settings mount stays until the machine ends; what is mounted inside can be unmounted there",
  });
}
