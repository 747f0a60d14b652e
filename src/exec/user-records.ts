import { chownSync, closeSync, constants, fchownSync, lchownSync, openSync, symlinkSync, writeSync } from "node:fs";
import { passwordHash } from "../host/bind-users.ts";
import type { BoundUser } from "../plan/step.ts";

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const SERVICE = "io.berth";

/**
 * Fills a new file system with records of users and of a group each, as nss-systemd(8) reads them: NAME.user and what
 * only root inside may read, NAME.user-privileged; the same by number, as links (https://systemd.io/USER_RECORD).
 * The password's hash is read only now, so that it is in no plan.
 */
export function writeUserRecords(mount: number, users: readonly BoundUser[], owner: number): void {
  const directory = `/proc/self/fd/${mount}`;
  for (const { name, uid, home, shell } of users) {
    const hash = passwordHash(name);
    const common = { disposition: "regular", service: SERVICE };
    const login = shell === null ? {} : { shell };
    const record = (kind: string, content: object, mode = 0o444): void => {
      writeOwned(`${directory}/${name}.${kind}`, `${JSON.stringify(content)}\n`, mode, owner);
      symlinkSync(`${name}.${kind}`, `${directory}/${uid}.${kind}`);
      lchownSync(`${directory}/${uid}.${kind}`, owner, owner);
    };
    record("user", { userName: name, uid, gid: uid, homeDirectory: home, ...login, ...common });
    if (hash !== null) record("user-privileged", { privileged: { hashedPassword: [hash] } }, 0o400);
    record("group", { groupName: name, gid: uid, ...common });
  }
  chownSync(`${directory}/.`, owner, owner);
}

function writeOwned(path: string, text: string, mode: number, owner: number): void {
  const file = openSync(path, CREATE, mode);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    fchownSync(file, owner, owner);
  } finally {
    closeSync(file);
  }
}
