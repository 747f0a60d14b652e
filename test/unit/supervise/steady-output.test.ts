import { spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SteadyOutput } from "../../../src/supervise/steady-output.ts";
import { SOCK_STREAM } from "../../../src/sys/constants.ts";
import { pipe, socketPair } from "../../../src/sys/sockets.ts";
import { openFds } from "../../lib/leaks.ts";

const MEGABYTE = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i % 251));

/** [where to read, what to give to the output]: both are the test's to close. */
const KINDS: readonly (readonly [string, () => [number, number]])[] = [
  ["a pipe", pipe],
  ["a socket", () => socketPair(SOCK_STREAM)],
];

/** All that is written meanwhile. */
async function readAll(fd: number, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let got = 0; got < length; ) {
    const chunk = Buffer.alloc(32 << 10);
    try {
      const part = readSync(fd, chunk);
      chunks.push(chunk.subarray(0, part));
      got += part;
    } catch {
      // nothing there: EAGAIN
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return Buffer.concat(chunks);
}

describe.each(KINDS)("to %s", (_, open) => {
  test("a write never waits, and all of it arrives when the reader reads", async () => {
    const before = openFds("self").length;
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    expect(output.write(MEGABYTE)).toBe(false);
    let done = false;
    void output.flushed().then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(done).toBe(false);
    const read = await readAll(reader, MEGABYTE.length);
    expect(read.equals(MEGABYTE)).toBe(true);
    await expect.poll(() => done).toBe(true);
    output.close();
    await expect.poll(() => openFds("self").length).toBe(before + 2);
    for (const fd of [reader, given]) closeSync(fd);
  });

  test("a reader that is gone is an error, once", async () => {
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    const errors: string[] = [];
    output.onLost((error: NodeJS.ErrnoException) => errors.push(error.code ?? ""));
    output.write(MEGABYTE);
    await new Promise((resolve) => setTimeout(resolve, 10));
    closeSync(reader);
    await expect.poll(() => errors).toHaveLength(1);
    expect(["EPIPE", "ECONNRESET"]).toContain(errors[0]);
    output.write("more");
    await output.flushed();
    expect(errors).toHaveLength(1);
    closeSync(given);
  });

  test("who writes is told when there is room again, and may use the buffer again at once", async () => {
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    const again = Buffer.from(MEGABYTE);
    expect(output.write(again)).toBe(false);
    again.fill(0);
    let room = false;
    output.whenDrained(() => {
      room = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(room).toBe(false);
    expect((await readAll(reader, MEGABYTE.length)).equals(MEGABYTE)).toBe(true);
    await expect.poll(() => room).toBe(true);
    expect(output.write("x")).toBe(true);
    output.close();
    for (const fd of [reader, given]) closeSync(fd);
  });

  test("the end comes after all that was written", async () => {
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    closeSync(given);
    output.write(MEGABYTE);
    output.end();
    output.write("too late");
    expect((await readAll(reader, MEGABYTE.length)).equals(MEGABYTE)).toBe(true);
    await output.flushed();
    expect(readSync(reader, Buffer.alloc(1))).toBe(0);
    closeSync(reader);
  });

  test("a reader that was gone before anybody asked is an error too", async () => {
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    closeSync(reader);
    output.write("x");
    output.write("y");
    const errors: Error[] = [];
    output.onLost((error) => errors.push(error))();
    expect(errors).toHaveLength(1);
    await output.flushed();
    output.close();
    closeSync(given);
  });

  test("a reader that stands still is given up in time, or at once; one that reads is not", async () => {
    const [reader, given] = open();
    const output = new SteadyOutput(given);
    output.hurry(200);
    output.write(MEGABYTE);
    const read = await readAll(reader, MEGABYTE.length);
    expect(read.equals(MEGABYTE)).toBe(true);
    output.write(MEGABYTE);
    await output.flushed();
    output.write(MEGABYTE);
    await output.flushed();
    output.close();
    const other = new SteadyOutput(given);
    other.write(MEGABYTE);
    other.write(MEGABYTE);
    other.giveUp();
    await other.flushed();
    other.close();
    for (const fd of [reader, given]) closeSync(fd);
  });
});

test("other users of a pipe do not find it changed", async () => {
  const [reader, given] = pipe();
  const output = new SteadyOutput(given);
  output.write(MEGABYTE);
  await new Promise((resolve) => setTimeout(resolve, 10));
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${given}`, "utf8"))?.[1];
  expect(Number.parseInt(flags ?? "", 8) & constants.O_NONBLOCK).toBe(0);
  output.close();
  for (const fd of [reader, given]) closeSync(fd);
});

test("to a file: it goes on where others have written, and others go on after it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "output-"));
  const path = join(directory, "file");
  writeFileSync(path, "");
  const fd = openSync(path, "r+");
  const run = async (text: string): Promise<void> => {
    const child = spawn("sh", ["-c", `printf ${text}`], { stdio: ["ignore", fd, "ignore"] });
    await new Promise((resolve) => child.once("close", resolve));
  };
  await run("first");
  const output = new SteadyOutput(fd);
  output.write("second");
  await output.flushed();
  await run("third");
  expect(readFileSync(path, "utf8")).toBe("firstsecondthird");
  output.close();
  closeSync(fd);
  rmSync(directory, { recursive: true });
});
