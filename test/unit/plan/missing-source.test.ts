import { expect, test } from "vitest";
import { makeMissing } from "../../../src/plan/missing-source.ts";

test.each<[string, boolean, string, string | undefined]>([
  ["/srv//data", false, "ENOENT", "mkdir -p /srv/data"],
  ["/device", false, "ENOENT", "mkdir -p /device"],
  ["/dev/dri", false, "ENOENT", undefined],
  ["/srv/../run/x", false, "ENOENT", undefined],
  ["/sys/kernel/none", false, "ENOENT", undefined],
  ["/proc/none", false, "ENOENT", undefined],
  ["/srv/data", true, "ENOENT", undefined],
  ["/srv/data", false, "EACCES", undefined],
])("%s (of the tree: %s, %s) is made by %s", (source, fromRoot, errno, expected) => {
  expect(makeMissing({ source, fromRoot }, errno)).toBe(expected);
});
