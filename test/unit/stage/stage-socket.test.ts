import { closeSync, openSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { SYNC } from "../../../src/stage/stage-abi.ts";
import { StageSocket } from "../../../src/stage/stage-socket.ts";
import { SOCK_SEQPACKET } from "../../../src/sys/constants.ts";
import { receive, send, socketPair } from "../../../src/sys/sockets.ts";

/** The host's side, and the stage's end of it. */
function pair(): { host: StageSocket; stage: number } {
  const [ours, stage] = socketPair(SOCK_SEQPACKET);
  return { host: new StageSocket(ours), stage };
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, index) => {
    bytes.writeBigInt64LE(BigInt(value), index * 8);
  });
  return bytes;
}

describe("the host's end of the status socket", () => {
  test("tells the number of a sync point", () => {
    const { host, stage } = pair();
    host.tell(4);
    expect(receive(stage)?.data).toEqual(words(SYNC + 4));
    host.close();
    closeSync(stage);
  });

  test("hears sync points in the order they are asked for, whoever was first", async () => {
    const { host, stage } = pair();
    send(stage, words(SYNC + 3, 33, 0));
    send(stage, words(SYNC + 2, 22, 0));
    expect(await host.hearSync(2)).toMatchObject({ value: 22 });
    expect(await host.hearSync(3)).toMatchObject({ value: 33 });
    expect(host.take(3)).toBeUndefined();
    host.close();
    closeSync(stage);
  });

  test("waits for what has not come yet", async () => {
    const { host, stage } = pair();
    const heard = host.hearSync(3);
    setTimeout(() => send(stage, words(SYNC + 3, 42, 0)), 20);
    expect(await heard).toMatchObject({ who: SYNC + 3, value: 42 });
    host.close();
    closeSync(stage);
  });

  test("hands out a failure at once, whatever is asked for", async () => {
    const { host, stage } = pair();
    send(stage, words(1, 7, -2));
    send(stage, words(SYNC + 2, 22, 0));
    expect(await host.hearSync(2)).toMatchObject({ who: 1, value: 7, result: -2 });
    host.close();
    closeSync(stage);
  });

  test("knows the end, also when the other side has not read everything", async () => {
    const { host, stage } = pair();
    send(stage, words(0, 5, -13));
    host.tell(1);
    closeSync(stage);
    expect(await host.hear()).toMatchObject({ who: 0, value: 5, result: -13 });
    expect(await host.hear()).toBeNull();
    expect(await host.hearSync(2)).toBeNull();
    host.close();
  });

  test("listens to the end: reports are returned, sync points kept", async () => {
    const { host, stage } = pair();
    send(stage, words(SYNC + 2, 22, 0));
    send(stage, words(1, 7, -2));
    send(stage, words(0, 9, 0));
    host.endTelling();
    expect(receive(stage)?.data).toHaveLength(0);
    closeSync(stage);
    expect((await host.hearOut()).map(({ who, result }) => [who, result])).toEqual([
      [1, -2],
      [0, 0],
    ]);
    expect(host.take(2)).toMatchObject({ value: 22 });
    host.close();
  });

  test("is closed once: the number may be another's by then", () => {
    const { host, stage } = pair();
    host.close();
    const reused = [1, 2, 3, 4].map(() => openSync("/dev/null", "r"));
    host.close();
    for (const fd of reused) expect(() => closeSync(fd)).not.toThrow();
    closeSync(stage);
  });
});
