import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPaths } from "../../../src/host/paths.ts";
import { startTimeOf } from "../../../src/host/process-id.ts";
import { freeze } from "../../../src/machine/freeze.ts";
import { joinTarget } from "../../../src/machine/join-target.ts";
import type { MachineRecord } from "../../../src/machine/record.ts";

/** Above what any kernel gives (PID_MAX_LIMIT). */
const NOBODY = 4194305;
let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ended-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

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

test("a machine that ends while it is to be frozen, and whose cgroup is another boot's by now", async () => {
  const leader = spawn("sleep", ["1000"], { stdio: "ignore" });
  const { pid = NOBODY } = leader;
  mkdirSync(join(directory, "payload"));
  const freezer = join(directory, "payload/cgroup.freeze");
  writeFileSync(join(directory, "payload/cgroup.events"), "populated 1\nfrozen 0\n");
  const machine = { ...gone, leader: { pid, startTime: startTimeOf(pid) ?? "" }, cgroup: directory };
  const frozen = freeze(machine, true).catch((error: unknown) => error);
  leader.kill("SIGKILL");
  await once(leader, "exit");
  expect(await frozen).toMatchObject(ended);
  expect(readFileSync(freezer, "utf8")).toBe("0");
});

test("a machine that somebody else lets go on while it is to be frozen: that is said, and not waited for", async () => {
  mkdirSync(join(directory, "payload"));
  writeFileSync(join(directory, "payload/cgroup.events"), "populated 1\nfrozen 0\n");
  const { pid } = process;
  const machine = { ...gone, leader: { pid, startTime: startTimeOf(pid) ?? "" }, cgroup: directory };
  const frozen = freeze(machine, true, 3_600_000).catch((error: unknown) => error);
  writeFileSync(join(directory, "payload/cgroup.freeze"), "0");
  expect(await frozen).toMatchObject({
    message: "somebody else let machine m go on while it was to be still",
    kind: "Busy",
  });
});
