import { expect, test } from "vitest";
import { systemCallGroups, systemCallNames } from "../../../src/spec/system-calls.ts";

test("every group of systemd.exec(5) is there", () => {
  const documented = `@default @aio @basic-io @chown @clock @cpu-emulation @debug @file-system @io-event @ipc @keyring
    @memlock @module @mount @network-io @obsolete @pkey @privileged @process @raw-io @reboot @resources @sandbox @setuid
    @signal @swap @sync @system-service @timer @known`.split(/\s+/);
  expect([...systemCallGroups().keys()]).toEqual(documented);
});

test("a member is a system call or a group that exists", () => {
  for (const [group, members] of systemCallGroups()) {
    for (const member of members) {
      const fits = member.startsWith("@") ? systemCallGroups().has(member) : /^[a-z_][a-z0-9_]*$/.test(member);
      expect(fits, `${member} in ${group}`).toBe(true);
    }
    expect(new Set(members).size, `${group} names something twice`).toBe(members.length);
  }
});

test("no group contains itself, not even by way of others", () => {
  const walk = (group: string, above: readonly string[]): void => {
    expect(above, [...above, group].join(" > ")).not.toContain(group);
    for (const member of systemCallGroups().get(group) ?? []) walk(member, [...above, group]);
  };
  for (const group of systemCallGroups().keys()) walk(group, []);
});

test("@known holds all other groups", () => {
  const known = systemCallGroups().get("@known") ?? [];
  const others = [...systemCallGroups().keys()].filter((group) => group !== "@known");
  expect(known).toEqual(expect.arrayContaining(others));
});

test.each(["read", "_llseek", "keyctl", "landlock_create_ruleset", "statmount", "setxattrat", "osf_wait4", "syslog"])(
  "%s is a system call",
  (name) => expect(systemCallNames().has(name)).toBe(true),
);

test.each(["@keyring", "@", "", "READ", "nosuchcall", "constructor", "__proto__"])("%j is none", (name) =>
  expect(systemCallNames().has(name)).toBe(false),
);

test("the older names of a group do not get lost: @mount and @clock", () => {
  expect(systemCallGroups().get("@mount")).toEqual(
    expect.arrayContaining(["mount", "umount2", "pivot_root", "fsmount", "open_tree", "mount_setattr", "chroot"]),
  );
  expect(systemCallGroups().get("@clock")).toEqual(
    expect.arrayContaining(["clock_settime", "settimeofday", "adjtimex"]),
  );
});
