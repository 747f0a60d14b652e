import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { refuseOtherPlaces } from "../../../src/daemon/places.ts";
import { findPaths, realPath } from "../../../src/host/paths.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "places-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const paths = findPaths({}, "/nowhere", "/berth");
const ours = { etc: "/berth/etc", machines: "/berth/machines" };

test.each([
  ["the daemon's own", "start", ours],
  ["a client of before", "start", undefined],
  ["what is about the daemon itself", "quit", { ...ours, machines: "/others" }],
  ["what is about a machine that runs", "exec", { ...ours, machines: "/others", etc: "/others" }],
  ["its limits", "setProperty", { ...ours, machines: "/others", etc: "/others" }],
])("%s: done", (_, method, places) => {
  expect(() => refuseOtherPlaces(method, places, paths)).not.toThrow();
});

test("other machines or settings: both are named, and what to set", () => {
  expect(() => refuseOtherPlaces("start", { ...ours, machines: "/\x1b" }, paths)).toThrow(
    expect.objectContaining({
      message: expect.stringMatching(
        /^berthd of \/berth\/run has its machines in \/berth\/machines, not in [\x20-\x7e]+$/,
      ),
      hint: expect.stringContaining("BERTH_MACHINES"),
    }),
  );
  expect(() => refuseOtherPlaces("pull", { ...ours, etc: "/others" }, paths)).toThrow(
    expect.objectContaining({
      message: "berthd of /berth/run has its settings in /berth/etc, not in /others",
      hint: expect.stringContaining("BERTH_ETC"),
    }),
  );
});

test("of what is not there yet the links above it are followed", () => {
  symlinkSync("/usr", join(directory, "link"));
  expect(realPath(join(directory, "link/none/etc"))).toBe(realPath("/usr/none/etc"));
});

test("the daemon's links are followed, and the client's never", () => {
  const link = join(directory, "link");
  symlinkSync("/usr", link);
  expect(() => refuseOtherPlaces("start", { ...ours, machines: "/usr" }, { ...paths, machines: link })).not.toThrow();
  expect(() => refuseOtherPlaces("start", { ...ours, machines: link }, { ...paths, machines: "/usr" })).toThrow(
    "not in",
  );
});
