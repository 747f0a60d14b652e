import { readSync, writeSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { ClientConnection } from "../../../src/daemon/client-connection.ts";
import { openLog } from "../../../src/daemon/log.ts";
import type { Daemon } from "../../../src/daemon/methods.ts";
import type { DaemonStatus, Reply } from "../../../src/manager/protocol.ts";
import { monotonic } from "../../../src/sys/clock.ts";
import { closeQuietly } from "../../../src/sys/files.ts";
import { socketPair } from "../../../src/sys/sockets.ts";

const SOCK_STREAM = 1;
const ASKED = 12;
/** ms, longer than root's requests are read for at a time. */
const WORK_MS = 5;

test("what root asks for at once is done in several turns of the event loop, in its order, and all of it", async () => {
  const [ours, theirs] = socketPair(SOCK_STREAM);
  const begun: number[] = [];
  let turns = 0;
  const daemon = {
    status(): Promise<DaemonStatus> {
      begun.push(turns);
      for (const end = monotonic() + WORK_MS; monotonic() < end; );
      return Promise.resolve({ pid: begun.length } as DaemonStatus);
    },
  } as unknown as Daemon;
  const peer = { pid: process.pid, uid: 0, gid: 0 };
  const connection = new ClientConnection(ours, peer, daemon, openLog(process.env).log, () => undefined);
  try {
    const request = (id: number): string => `${JSON.stringify({ id, method: "status", params: {} })}\n`;
    writeSync(theirs, Array.from({ length: ASKED }, (_, index) => request(index + 1)).join(""));
    for (const late = monotonic() + 10_000; begun.length < ASKED && monotonic() < late; turns++) await nextTurn();
    expect(new Set(begun).size).toBe(ASKED);
    await connection.close();
    const replies = receive(theirs);
    expect(replies.map((reply) => [reply.id, "result" in reply && (reply.result as DaemonStatus).pid])).toEqual(
      Array.from({ length: ASKED }, (_, index) => [index + 1, index + 1]),
    );
  } finally {
    await connection.close();
    closeQuietly(theirs);
  }
});

test("where a client has its machines is looked at only where that is text", async () => {
  const [ours, theirs] = socketPair(SOCK_STREAM);
  let asked = 0;
  const daemon = { status: async () => ({ pid: ++asked }) } as unknown as Daemon;
  const peer = { pid: process.pid, uid: 65534, gid: 65534 };
  const connection = new ClientConnection(ours, peer, daemon, openLog(process.env).log, () => undefined);
  try {
    const odd = ["null", "[]", "7", '{"etc":{"toString":1},"machines":""}', `${"[".repeat(500)}${"]".repeat(500)}`];
    for (const [id, places] of odd.entries()) writeSync(theirs, `{"id":${id},"method":"status","places":${places}}\n`);
    for (const late = monotonic() + 10_000; asked < odd.length && monotonic() < late; ) await nextTurn();
    await connection.close();
    expect(receive(theirs).map((reply) => [reply.id, "result" in reply])).toEqual(odd.map((_, id) => [id, true]));
  } finally {
    await connection.close();
    closeQuietly(theirs);
  }
});

test.each([
  ["goes on without its client", [], false],
  ["is given up with it, if that has said so", [true], true],
  ["goes on, if it has taken that back", [true, false], false],
])("a start %s", async (_, said, given) => {
  const [ours, theirs] = socketPair(SOCK_STREAM);
  let signal: AbortSignal | undefined;
  const manager = {
    start(_name: string, options: { readonly signal: AbortSignal }): Promise<void> {
      signal = options.signal;
      return new Promise(() => undefined);
    },
  };
  let heard = false;
  const status = async (): Promise<DaemonStatus> => {
    heard = true;
    return {} as DaemonStatus;
  };
  const daemon = { manager, autostart: { underway: () => undefined }, status } as unknown as Daemon;
  const peer = { pid: process.pid, uid: 0, gid: 0 };
  const connection = new ClientConnection(ours, peer, daemon, openLog(process.env).log, () => undefined);
  try {
    writeSync(theirs, `${JSON.stringify({ id: 1, method: "start", params: { name: "m", timeout: null } })}\n`);
    await until(() => signal !== undefined);
    for (const cancelIfGone of said) writeSync(theirs, `${JSON.stringify({ id: 1, cancelIfGone })}\n`);
    writeSync(theirs, `${JSON.stringify({ id: 2, method: "status", params: {} })}\n`);
    await until(() => heard);
    expect(signal?.aborted).toBe(false);
  } finally {
    await connection.close();
    closeQuietly(theirs);
  }
  expect(signal?.aborted).toBe(given);
});

async function until(condition: () => boolean): Promise<void> {
  for (const late = monotonic() + 10_000; !condition() && monotonic() < late; ) await nextTurn();
}

/** To the end. */
function receive(fd: number): readonly Reply[] {
  const buffer = Buffer.alloc(1 << 16);
  let text = "";
  for (let length = readSync(fd, buffer); length > 0; length = readSync(fd, buffer))
    text += buffer.toString("utf8", 0, length);
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Reply);
}
