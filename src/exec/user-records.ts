import { passwordHash } from "../host/bind-users.ts";
import type { BoundUser } from "../plan/step.ts";
import type { Ramfs } from "./ramfs.ts";

const SERVICE = "io.berth";

/**
 * Records of users and of a group each, as nss-systemd(8) reads them: NAME.user and what only root inside may read,
 * NAME.user-privileged; the same by number, as links (https://systemd.io/USER_RECORD). The password's hash is read only
 * now, so that it is in no plan.
 */
export function writeUserRecords(into: Ramfs, users: readonly BoundUser[]): void {
  for (const { name, uid, home, shell, groups } of users) {
    const hash = passwordHash(name);
    const common = { disposition: "regular", service: SERVICE };
    const login = shell === null ? {} : { shell };
    const member = groups.length === 0 ? {} : { memberOf: groups.map((group) => group.name) };
    const record = (kind: string, content: object, mode = 0o444): void => {
      into.file(`${name}.${kind}`, Buffer.from(`${JSON.stringify(content)}\n`), mode);
      into.link(`${uid}.${kind}`, `${name}.${kind}`);
    };
    record("user", { userName: name, uid, gid: uid, homeDirectory: home, ...login, ...member, ...common });
    if (hash !== null) record("user-privileged", { privileged: { hashedPassword: [hash] } }, 0o400);
    record("group", { groupName: name, gid: uid, ...common });
    // What nss-systemd goes by: the record's memberOf is for those who read records.
    for (const group of groups) into.file(`${name}:${group.name}.membership`, Buffer.from("{}\n"), 0o444);
  }
}
