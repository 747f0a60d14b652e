import { chmodSync, fstatSync, type Stats } from "node:fs";
import { changeOwner, getAttribute, listAttributes, removeAttribute, setAttribute } from "../sys/owners.ts";

/** Ids of a tree's owners: 16 bits of the machine, and above them the block that all of them are in. */
const INSIDE = 0xffff;

export const ACLS = ["system.posix_acl_access", "system.posix_acl_default"];
export const CAPABILITIES = "security.capability";
/** Ours, while a file loses to chown(2) what it is to get back: so a start that is killed in between costs nothing. */
const SAVED = "trusted.berth.chown";
export const SET_ID_BITS = 0o6000;

export function ownerIn(base: number, id: number): number {
  return (base | (id & INSIDE)) >>> 0;
}

/** Moves one file's owner, group, ACLs and capabilities into the block from `base` on. Done twice it does nothing more. */
export function moveOwner(fd: number, base: number): Stats {
  const stat = fstatSync(fd);
  const [uid, gid] = [ownerIn(base, stat.uid), ownerIn(base, stat.gid)];
  const moves = uid !== stat.uid || gid !== stat.gid;
  if (stat.isSymbolicLink()) {
    if (moves) changeOwner(fd, uid, gid);
    return stat;
  }
  const names = listAttributes(fd);
  const special = stat.isFile() && ((stat.mode & SET_ID_BITS) !== 0 || names.includes(CAPABILITIES));
  if (names.includes(SAVED)) restore(fd, uid, gid, base);
  else if (special) moveSpecial(fd, stat, uid, gid, base);
  else if (moves) changeOwner(fd, uid, gid);
  for (const name of names) if (ACLS.includes(name)) moveAcl(fd, name, base);
  return stat;
}

/** A program with set-user-ID bits or capabilities. */
function moveSpecial(fd: number, { mode, ...stat }: Stats, uid: number, gid: number, base: number): void {
  const capabilities = getAttribute(fd, CAPABILITIES);
  const moved = capabilities === null ? null : moveCapabilities(capabilities, base);
  if (uid === stat.uid && gid === stat.gid && (moved === null || moved.equals(capabilities ?? moved))) return;
  const saved = `${(mode & 0o7777).toString(8)} ${moved?.toString("hex") ?? ""}`;
  if (setAttribute(fd, SAVED, Buffer.from(saved))) restore(fd, uid, gid, base);
  else giveBack(fd, uid, gid, saved, base);
}

function restore(fd: number, uid: number, gid: number, base: number): void {
  const saved = getAttribute(fd, SAVED)?.toString("latin1") ?? "";
  giveBack(fd, uid, gid, saved, base);
  removeAttribute(fd, SAVED);
}

/** chown(2) takes the bits and the capabilities. */
function giveBack(fd: number, uid: number, gid: number, saved: string, base: number): void {
  const [, mode, capabilities = ""] = /^([0-7]{1,4}) ((?:[0-9a-f]{2})*)$/.exec(saved) ?? [];
  changeOwner(fd, uid, gid);
  if (mode !== undefined) chmodSync(`/proc/self/fd/${fd}`, Number.parseInt(mode, 8));
  if (capabilities !== "") setAttribute(fd, CAPABILITIES, moveCapabilities(Buffer.from(capabilities, "hex"), base));
}

/** linux/posix_acl_xattr.h: a version, then entries of tag (16 bits), permissions (16) and id (32), little-endian. */
const ACL_HEADER = 4;
const ACL_ENTRY = 8;
const ACL_VERSION = 2;
const [ACL_USER, ACL_GROUP] = [0x02, 0x08];

function moveAcl(fd: number, name: string, base: number): void {
  const acl = getAttribute(fd, name);
  if (acl === null) return;
  const moved = movedAcl(acl, base);
  if (!moved.equals(acl)) setAttribute(fd, name, moved);
}

export function movedAcl(acl: Buffer, base: number): Buffer {
  return mappedAcl(acl, (id) => ownerIn(base, id));
}

/** Named users and groups; the other entries have no ids. An ACL of another version is left as it is. */
export function mappedAcl(acl: Buffer, map: (id: number) => number): Buffer {
  const moved = Buffer.from(acl);
  if (acl.length < ACL_HEADER || acl.readUInt32LE(0) !== ACL_VERSION) return moved;
  for (let at = ACL_HEADER; at + ACL_ENTRY <= acl.length; at += ACL_ENTRY)
    if ([ACL_USER, ACL_GROUP].includes(acl.readUInt16LE(at)))
      moved.writeUInt32LE(map(acl.readUInt32LE(at + 4)), at + 4);
  return moved;
}

/** linux/capability.h, struct vfs_ns_cap_data: of revision 3 is one that holds for the root of a user namespace only. */
const REVISION_2 = 0x02000000;
const REVISION_3 = 0x03000000;
const REVISION_MASK = 0xff000000;
const [SIZE_2, SIZE_3] = [20, 24];

/** For the machine whose root is `base`; with base 0 in the form that every kernel and program knows. */
export function moveCapabilities(capabilities: Buffer, base: number): Buffer {
  if (capabilities.length < SIZE_2) return capabilities;
  const magic = capabilities.readUInt32LE(0);
  const rootId = (magic & REVISION_MASK) >>> 0 === REVISION_3 ? capabilities.readUInt32LE(SIZE_2) : 0;
  const root = ownerIn(base, rootId);
  const moved = Buffer.alloc(root === 0 ? SIZE_2 : SIZE_3);
  capabilities.copy(moved, 0, 0, SIZE_2);
  moved.writeUInt32LE(((magic & ~REVISION_MASK) | (root === 0 ? REVISION_2 : REVISION_3)) >>> 0, 0);
  if (root !== 0) moved.writeUInt32LE(root, SIZE_2);
  return moved;
}
