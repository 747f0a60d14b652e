import { release } from "node:os";
import { expect, test } from "vitest";
import { findTool, missing, type Need } from "../../lib/requires.ts";

const [major = 0, minor = 0] = release().split(".").map(Number);

test.each<Need>(["tool:sh", "file:/proc/self/status", `kernel:${major}.${minor}`, `kernel:${major - 1}.99`])(
  "%s is there",
  (need) => {
    expect(missing(need)).toBeUndefined();
  },
);

test.each<[Need, string, lawful: boolean]>([
  ["tool:no-such-tool", "no no-such-tool in PATH", false],
  ["file:/nonexistent", "no /nonexistent", false],
  [`kernel:${major}.${minor + 1}`, `this kernel is ${release()}`, true],
  [`kernel:${major + 1}.0`, `this kernel is ${release()}`, true],
  ["arch:mips", `this host is ${process.arch}`, true],
  ["controller:no-such", "cgroup2", true],
])("%s is missing: %s", (need, reason, lawful) => {
  expect(missing(need)).toMatchObject({ need, lawful, reason: expect.stringContaining(reason) });
});

test("a misspelt need is an error, never a skip", () => {
  expect(() => missing("cap:CAP_NONE")).toThrow("unknown capability CAP_NONE");
  const misspelt: string = "rooot";
  expect(() => missing(misspelt as Need)).toThrow("unknown need rooot");
});

test("tools of administrators are found without sbin in PATH", () => {
  const path = process.env["PATH"];
  process.env["PATH"] = "/nonexistent";
  try {
    expect(findTool("sh")).toBeUndefined();
    expect(findTool("ldconfig")).toMatch(/sbin\/ldconfig$/);
  } finally {
    process.env["PATH"] = path;
  }
});
