import { expect, test } from "vitest";
import {
  CAPABILITIES,
  capabilityName,
  capabilityNumber,
  defaultCapabilities,
  retainedCapabilities,
} from "../../../src/spec/capabilities.ts";

const mask = (names: Iterable<string>): bigint =>
  [...names].reduce((sum, name) => sum | (1n << BigInt(capabilityNumber(name) ?? 63)), 0n);

test("numbers are the kernel's", () => {
  expect(CAPABILITIES).toHaveLength(41);
  expect(new Set(CAPABILITIES).size).toBe(41);
  for (const [name, number] of Object.entries({
    CAP_CHOWN: 0,
    CAP_NET_ADMIN: 12,
    CAP_SYS_ADMIN: 21,
    CAP_SETFCAP: 31,
    CAP_CHECKPOINT_RESTORE: 40,
  }))
    expect([name, capabilityNumber(name)]).toEqual([name, number]);
  expect(capabilityNumber("CAP_NONE")).toBeUndefined();
});

// CapBnd of /proc/self/status in systemd-nspawn 252 with --private-users=pick --private-network; the other without bit 12.
test("the default set is nspawn's", () => {
  expect(mask(defaultCapabilities(true)).toString(16)).toBe("fdecbfff");
  expect(mask(defaultCapabilities(false)).toString(16)).toBe("fdecafff");
});

test("drops hold, wherever they stand", () => {
  const add = { change: "add", names: ["CAP_KILL", "CAP_SYS_TIME"] } as const;
  const drop = { change: "drop", names: ["CAP_SYS_TIME", "CAP_KILL", "CAP_MKNOD"] } as const;
  const expected = CAPABILITIES.filter(
    (name) => defaultCapabilities(true).has(name) && name !== "CAP_KILL" && name !== "CAP_MKNOD",
  );
  expect(retainedCapabilities([add, drop], true)).toEqual(expected);
  expect(retainedCapabilities([drop, add], true)).toEqual(expected);
});

test("all is every capability", () => {
  expect(retainedCapabilities([{ change: "add", names: "all" }], false)).toEqual(CAPABILITIES);
  expect(retainedCapabilities([{ change: "drop", names: "all" }], true)).toEqual([]);
  expect(
    retainedCapabilities(
      [
        { change: "add", names: "all" },
        { change: "drop", names: ["CAP_CHOWN"] },
      ],
      true,
    ),
  ).toEqual(CAPABILITIES.slice(1));
});

test.each([
  ["CAP_KILL", "CAP_KILL"],
  ["cap_kill", "CAP_KILL"],
  ["5", "CAP_KILL"],
  ["40", "CAP_CHECKPOINT_RESTORE"],
  ["41", undefined],
  ["-1", undefined],
  ["KILL", undefined],
  ["all", undefined],
  ["__proto__", undefined],
  ["", undefined],
])("%j is %s", (text, name) => {
  expect(capabilityName(text)).toBe(name);
});
