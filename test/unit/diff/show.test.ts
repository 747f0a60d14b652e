import { expect, test } from "vitest";
import { changeLine, packageLines, pathText } from "../../../src/diff/show.ts";

const bytes = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

test("paths of any bytes are text, and harmless", () => {
  expect(pathText("/etc/a")).toBe("/etc/a");
  expect(pathText(bytes("/grün"))).toBe("/grün");
  expect(pathText("/a\xff\xfe")).toBe("/a\\xff\\xfe");
  const line = changeLine({ path: bytes("/a\x1b[31m\n\u202eb"), change: "added", type: "directory", what: [] });
  expect(line).toBe("A /a\\u{1b}[31m\\u{a}\\u{202e}b/");
});

test("a change says in what", () => {
  const what = [
    { aspect: "mode", from: "0644", to: "0600" },
    { aspect: "content", from: null, to: null },
    { aspect: "attributes", from: "user.x", to: "user.x" },
    { aspect: "target", from: "a", to: "\x1b" },
  ] as const;
  expect(changeLine({ path: "/f", change: "changed", type: "file", what })).toBe(
    "M /f  mode 0644 -> 0600, content, attribute user.x, target a -> \\u{1b}",
  );
});

test("packages that did not change are not told", () => {
  expect(packageLines({ manager: "dpkg", added: [], removed: [], changed: [] })).toEqual([]);
  expect(packageLines({ manager: "apk", added: [{ name: "a\x1b", version: "1" }], removed: [], changed: [] })).toEqual([
    "packages (apk):",
    "  added    a\\u{1b} 1",
  ]);
});
