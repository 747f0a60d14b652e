import { describe, expect, test } from "vitest";
import { checkHostname, checkName, requireName } from "../../../src/spec/name.ts";

describe("machine names", () => {
  test.each(["a", "web", "Web-1", "0", "a.b_c-d", "a-", "a_", "host2", "x".repeat(64)])("%j is one", (name) => {
    expect(checkName(name)).toBeUndefined();
  });

  test.each([
    ["", "is empty", undefined],
    ["x".repeat(65), "is longer than 64 characters", "x".repeat(64)],
    [".host", "is reserved for the host itself", "host-1"],
    ["host", "is reserved for the host itself", "host-1"],
    ["a..b", 'may not contain ".."', "a.b"],
    ["..", "must start with a letter or a digit", undefined],
    ["../../etc/passwd", 'may not contain "/", only letters, digits, "_", "." and "-"', "etc-passwd"],
    ["a.", "may not end with a dot", "a"],
    ["-rf", "must start with a letter or a digit", "rf"],
    [".hidden", "must start with a letter or a digit", "hidden"],
    ["a b", 'may not contain " ", only letters, digits, "_", "." and "-"', "a-b"],
    ["a\nb", 'may not contain "\\u{a}", only letters, digits, "_", "." and "-"', "a-b"],
    ["web\0", 'may not contain "\\u{0}", only letters, digits, "_", "." and "-"', "web"],
    ["web\n", 'may not contain "\\u{a}", only letters, digits, "_", "." and "-"', "web"],
    ["%s", 'may not contain "%", only letters, digits, "_", "." and "-"', "s"],
    ["größe", 'may not contain "ö", only letters, digits, "_", "." and "-"', "gr-e"],
    ["\u{1F600}", 'may not contain "\u{1F600}", only letters, digits, "_", "." and "-"', undefined],
  ])("%j %s", (name, wrong, suggestion) => {
    const fault = checkName(name);
    expect(fault?.what.endsWith(` ${wrong}`) && fault.what.startsWith('machine name "')).toBe(true);
    expect(fault?.suggestion).toBe(suggestion);
    if (suggestion !== undefined) expect(checkName(suggestion)).toBeUndefined();
  });
});

test("a name that comes in is required to be one", () => {
  expect(requireName("web")).toBeUndefined();
  const wrong = expect.objectContaining({
    message: 'machine name "a b" may not contain " ", only letters, digits, "_", "." and "-"',
    hint: "a-b would do",
  });
  expect(() => requireName("a b")).toThrow(wrong);
  expect(() => requireName("a b", "-M")).toThrow(expect.objectContaining({ hint: "-M a-b names it" }));
  expect(() => requireName("", "-M")).toThrow(expect.objectContaining({ hint: "-M NAME names it" }));
  expect(() => requireName("")).toThrow(expect.objectContaining({ hint: undefined }));
  const hint = "berth clone web@snap0 NEW makes an image of a snapshot";
  expect(() => requireName("web@snap0")).toThrow(expect.objectContaining({ hint }));
  expect(() => requireName("web@snap 0")).toThrow(expect.objectContaining({ hint: "web-snap-0 would do" }));
});

describe("host names", () => {
  test.each(["a", "web", "Web.example.org", "1", "a-b", "x".repeat(64)])("%j is one", (name) => {
    expect(checkHostname(name)).toBeUndefined();
  });

  // The same that systemd-nspawn 252 refuses for Hostname=.
  test.each(["", "a_b", "a.", "-a", "a..b", "a-.b", ".a", "a-", "ä", "a b", "a\n", "x".repeat(65)])(
    "%j is none",
    (name) => {
      expect(checkHostname(name)).toMatch(/^(is|has) /);
    },
  );
});
