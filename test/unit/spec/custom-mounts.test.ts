import { expect, test } from "vitest";
import { customMounts } from "../../../src/spec/custom-mounts.ts";
import { specOf } from "../../lib/launch.ts";

function order(lines: readonly string[]): string[] {
  const spec = specOf({ name: "m", root: "/m", settings: `[Files]\n${lines.join("\n")}\n` });
  return customMounts(spec).map(({ kind, target, index }) => `${kind} ${target} ${index}`);
}

test("mounts are made by target, name by name, whatever the order they are written in", () => {
  const targets = ["/b", "/a-b", "/a/b/c", "/a", "/a/b", "/a.x", "/a/ä", "/A"];
  expect(order(targets.map((target) => `TemporaryFileSystem=${target}`))).toEqual([
    "tmpfs /A 7",
    "tmpfs /a 3",
    "tmpfs /a/b 4",
    "tmpfs /a/b/c 2",
    "tmpfs /a/ä 6",
    "tmpfs /a-b 1",
    "tmpfs /a.x 5",
    "tmpfs /b 0",
  ]);
});

test("of one target by kind, and then as written", () => {
  const lines = ["Inaccessible=/x", "Overlay=/l::/x", "TemporaryFileSystem=/x", "BindReadOnly=/2:/x", "Bind=/1:/x"];
  expect(order(lines)).toEqual(["bind /x 0", "bind /x 1", "tmpfs /x 0", "overlay /x 0", "inaccessible /x 0"]);
});
