import { expect, test } from "vitest";
import { propertyOption, sliceOption } from "../../../src/config/unit-options.ts";
import { UsageError } from "../../../src/errors.ts";
import { scopeName, slicePath, unitOf } from "../../../src/plan/unit.ts";

test.each([
  ["/system.slice/web.service", "web.service", "/system.slice/web.service"],
  [
    "/system.slice/system-web.slice/web@1.service/main/deep",
    "web@1.service",
    "/system.slice/system-web.slice/web@1.service",
  ],
  ["/machine.slice/machine-a\\x2db.scope/supervisor", "machine-a\\x2db.scope", "/machine.slice/machine-a\\x2db.scope"],
  ["/system.slice/_cpu.service", "cpu.service", "/system.slice/_cpu.service"],
  ["/run-u7.service", "run-u7.service", "/run-u7.service"],
])("the unit of cgroup %s is %s", (cgroup, name, path) => {
  expect(unitOf(cgroup)).toEqual({ name, path, ofUser: false });
});

test.each([
  "/user.slice/user-0.slice/session-1.scope",
  "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
])("%s is a user's", (cgroup) => {
  expect(unitOf(cgroup)).toMatchObject({ ofUser: true });
});

test.each(["/", "/init.scope", "/system.slice", "/docker/0123", "/.service", "/a.slice/.scope"])(
  "%s is in no unit",
  (cgroup) => {
    expect(unitOf(cgroup)).toBeNull();
  },
);

test.each([
  ["machine.slice", "/machine.slice"],
  ["-.slice", ""],
  ["a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"],
  ["memory.slice", "/_memory.slice"],
  ["_x-y.slice", "/__x.slice/__x-y.slice"],
  ["cgroup.x.slice", "/_cgroup.x.slice"],
  ["memoryx.slice", "/memoryx.slice"],
])("slice %s has the cgroup %s", (slice, path) => {
  expect(slicePath(slice)).toBe(path);
});

test("a scope's name has no dash that systemd would take for nesting", () => {
  expect(scopeName("web-1_a.b")).toBe("machine-web\\x2d1_a.b.scope");
});

test.each([
  ["web", "web.slice"],
  ["web.slice", "web.slice"],
  ["a-b", "a-b.slice"],
  ["-.slice", "-.slice"],
  ["-", "-.slice"],
])("--slice=%s is %s", (text, value) => {
  expect(sliceOption(text)).toEqual({ value, source: { from: "option", option: `--slice=${text}` } });
});

test.each(["", ".slice", "-a", "a-", "a--b", "a b", "a/b", "../x", "a\nb", "é", `${"x".repeat(250)}`])(
  "--slice=%j is refused",
  (text) => {
    expect(() => sliceOption(text)).toThrow(UsageError);
  },
);

test("--property= takes all after the first equals sign as the value, even none", () => {
  expect(propertyOption("DeviceAllow=/dev/x=y rw").value).toEqual({ name: "DeviceAllow", value: "/dev/x=y rw" });
  expect(propertyOption("DeviceAllow=").value).toEqual({ name: "DeviceAllow", value: "" });
});

test.each(["", "=", "=1G", "MemoryMax", "Memory Max=1", "--no-block=1", "a\nb=1"])(
  "--property=%j is refused",
  (text) => {
    expect(() => propertyOption(text)).toThrow(UsageError);
  },
);
