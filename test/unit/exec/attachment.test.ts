import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { accept } from "../../../src/exec/attachment.ts";
import { ATTACHED, KEEPER_VERSION, SAID_READY } from "../../../src/stage/stage-abi.ts";
import { StageSocket } from "../../../src/stage/stage-socket.ts";
import { SOCK_SEQPACKET } from "../../../src/sys/constants.ts";
import { duplicate, openNull } from "../../../src/sys/files.ts";
import { pidfdOpen, pidOf } from "../../../src/sys/processes.ts";
import { receive, socketPair } from "../../../src/sys/sockets.ts";
import { openFds } from "../../lib/leaks.ts";

/** What comes of a keeper's first word. */
let before: readonly string[] = [];
beforeEach(() => {
  before = openFds("self");
});
afterEach(() => expect(openFds("self")).toEqual(before));

const LEADER = 4;
const KEEPER = 8;
const RECORD = 16;
const CONSOLE = 128;

/** Answers a new supervisor with this; `theirs` is the keeper's end. */
function answer(who: number, value: number, result: number, fds: readonly number[]) {
  const [ours, theirs] = socketPair(SOCK_SEQPACKET);
  const greeting = { who, value, result, fds };
  return { theirs, accepted: () => accept("/nowhere", new StageSocket(ours), greeting, { name: "m" }) };
}

const self = (): number => pidfdOpen(process.pid);

test("fds have the names that the bits say, and a pidfd tells its pid", async () => {
  const fds = [self(), self(), openNull(), openNull()];
  const { theirs, accepted } = answer(ATTACHED, KEEPER_VERSION, SAID_READY | LEADER | KEEPER | RECORD | CONSOLE, fds);
  const attachment = await accepted();
  if (attachment === null) throw new Error("it has ended");
  expect(attachment).toMatchObject({ leaderPid: process.pid, keeperPid: process.pid, saidReady: true });
  expect(attachment.saidStopping).toBe(false);
  expect(attachment.fds.entries()).toEqual([
    ["leader", fds[0]],
    ["keeper", fds[1]],
    ["record", fds[2]],
    ["console", fds[3]],
  ]);
  closeSync(theirs);
  await attachment.detach();
});

test.each([
  ["of another version", ATTACHED, KEEPER_VERSION + 1, /^the keeper of machine m is of version 2, .* knows version 1$/],
  ["that says something else", 0x777, KEEPER_VERSION, /says what this berth does not understand$/],
] as const)("a keeper %s is left alone, and nothing of it is kept", async (_, who, version, message) => {
  const { theirs, accepted } = answer(who, version, LEADER | KEEPER | RECORD, [self(), self(), openNull(), openNull()]);
  await expect(accepted()).rejects.toThrow(message);
  expect(receive(theirs)?.data).toHaveLength(0);
  closeSync(theirs);
});

test("a keeper that does not give all it promises is not understood", async () => {
  const { theirs, accepted } = answer(ATTACHED, KEEPER_VERSION, LEADER | KEEPER | RECORD, [self(), self()]);
  await expect(accepted()).rejects.toThrow("does not understand");
  closeSync(theirs);
});

test("a machine that has ended meanwhile is none, and no process has the pid -1", async () => {
  const child = spawn("true");
  const pidfd = pidfdOpen(child.pid ?? 0);
  await once(child, "exit");
  expect(pidOf(pidfd)).toBeNull();
  const { theirs, accepted } = answer(ATTACHED, KEEPER_VERSION, LEADER | KEEPER | RECORD, [
    pidfd,
    duplicate(pidfd),
    openNull(),
  ]);
  expect(await accepted()).toBeNull();
  closeSync(theirs);
});
