import { expect, test } from "vitest";
import { findPaths } from "../../../src/host/paths.ts";
import { freeze } from "../../../src/machine/freeze.ts";
import { joinTarget } from "../../../src/machine/join-target.ts";
import type { MachineRecord } from "../../../src/machine/record.ts";

/** Above what any kernel gives (PID_MAX_LIMIT). */
const NOBODY = 4194305;
const gone = {
  name: "m",
  leader: { pid: NOBODY, startTime: "1" },
  cgroup: "/nowhere/m",
  cgroupMount: "/nowhere",
} as MachineRecord;
const paths = findPaths({ BERTH_RUN: "/nowhere" }, "/nowhere", "/nowhere");
const ended = { name: "BerthError", message: "machine m has just ended", kind: "NoSuchMachine" };

test("a machine that ends between being found and being joined", () => {
  expect(() => joinTarget(gone, paths)).toThrow(expect.objectContaining(ended));
});

test.each([true, false])("a machine that ends between being found and being frozen (%s)", async (frozen) => {
  await expect(freeze(gone, frozen)).rejects.toMatchObject(ended);
});
