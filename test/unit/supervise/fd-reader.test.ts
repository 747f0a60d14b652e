import { closeSync, constants, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { FdReader } from "../../../src/supervise/fd-reader.ts";
import { TIOCGPTPEER, TIOCSPTLCK } from "../../../src/sys/constants.ts";
import { bind, check, pinned } from "../../../src/sys/libc.ts";
import { pipe } from "../../../src/sys/sockets.ts";
import { makeRaw } from "../../../src/sys/terminal.ts";
import { openFds } from "../../lib/leaks.ts";

const ioctl = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlNumber = bind("int ioctl(int fd, ulong request, long argument)");

/** [master, which does not block, and its other side]. */
function pseudoTerminal(): [number, number] {
  const master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  check(ioctl(master, TIOCSPTLCK, pinned(4)), "ioctl TIOCSPTLCK");
  return [master, check(ioctlNumber(master, TIOCGPTPEER, constants.O_RDWR | constants.O_NOCTTY), "ioctl TIOCGPTPEER")];
}

/** All of it, as it came. */
async function readAll(reader: FdReader): Promise<Buffer> {
  const chunks: Buffer[] = [];
  reader.start((chunk) => chunks.push(Buffer.from(chunk)) > 0);
  await reader.ended();
  return Buffer.concat(chunks);
}

describe("a master's reader", () => {
  test("has everything that was written when the last one that has the terminal open is gone", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const reader = new FdReader(master, false);
    const read = readAll(reader);
    const text = Buffer.from("0123456789".repeat(300));
    writeSync(side, text);
    closeSync(side);
    expect((await read).equals(text)).toBe(true);
    closeSync(master);
  });

  test("waits while whoever reads is behind, and loses nothing by that", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const reader = new FdReader(master, false);
    const chunks: Buffer[] = [];
    reader.start((chunk) => {
      chunks.push(Buffer.from(chunk));
      setTimeout(() => reader.resume(), 2);
      return false;
    });
    for (let i = 0; i < 50; i++) {
      writeSync(side, `${String(i).padStart(3, "0")}${"x".repeat(500)}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    closeSync(side);
    await reader.ended();
    const text = Buffer.concat(chunks).toString();
    expect(text.match(/\d{3}/g)).toEqual(Array.from({ length: 50 }, (_, i) => String(i).padStart(3, "0")));
    expect(text).toHaveLength(50 * 503);
    closeSync(master);
  });

  test("leaves no fd behind when it is done with early", () => {
    const before = openFds("self");
    const [master, side] = pseudoTerminal();
    const reader = new FdReader(master, false);
    reader.start(() => true);
    reader.close();
    for (const fd of [master, side]) closeSync(fd);
    expect(openFds("self").length).toBe(before.length);
  });
});

describe("the end that does not come by itself", () => {
  test("is where nothing is left to read, and what came before it is whole", async () => {
    const [readEnd, writeEnd] = pipe();
    const reader = new FdReader(readEnd, true);
    const read = readAll(reader);
    writeSync(writeEnd, "x".repeat(50_000));
    reader.endSoon(50);
    writeSync(writeEnd, "late");
    expect((await read).toString()).toBe(`${"x".repeat(50_000)}late`);
    closeSync(writeEnd);
  });

  test("waits for whoever reads and is behind", async () => {
    const [readEnd, writeEnd] = pipe();
    const reader = new FdReader(readEnd, true);
    let length = 0;
    reader.start((chunk) => {
      length += chunk.length;
      setTimeout(() => reader.resume(), 150);
      return false;
    });
    writeSync(writeEnd, "a");
    await expect.poll(() => length).toBe(1);
    writeSync(writeEnd, "x".repeat(60_000));
    reader.endSoon(1);
    await reader.ended();
    expect(length).toBe(60_001);
    closeSync(writeEnd);
  });

  test("comes, too, when somebody never stops to write", async () => {
    const [readEnd, writeEnd] = pipe();
    const reader = new FdReader(readEnd, true);
    let length = 0;
    reader.start((chunk) => {
      length += chunk.length;
      writeSync(writeEnd, chunk);
      return true;
    });
    writeSync(writeEnd, "x".repeat(60_000));
    reader.endSoon(10);
    await reader.ended();
    expect(length).toBeGreaterThan(60_000);
    closeSync(writeEnd);
  });
});

test("a writer that never stops leaves everything else its turn", async () => {
  const [readEnd, writeEnd] = pipe();
  const reader = new FdReader(readEnd, true);
  reader.start((chunk) => {
    writeSync(writeEnd, chunk);
    return true;
  });
  writeSync(writeEnd, "x".repeat(1000));
  await sleep(20);
  reader.close();
  closeSync(writeEnd);
});
