import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { PassThrough } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import type { Caller } from "../../../src/supervise/caller.ts";
import { ConsoleLink } from "../../../src/supervise/console.ts";
import { FdReader } from "../../../src/supervise/fd-reader.ts";
import { SteadyOutput } from "../../../src/supervise/steady-output.ts";
import { TIOCGPTPEER, TIOCSPTLCK } from "../../../src/sys/constants.ts";
import { bind, check, pinned } from "../../../src/sys/libc.ts";
import { pipe } from "../../../src/sys/sockets.ts";
import { makeRaw } from "../../../src/sys/terminal.ts";

const ioctl = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlNumber = bind("int ioctl(int fd, ulong request, long argument)");

/** [master, which does not block, and its other side]. */
function pseudoTerminal(): [number, number] {
  const master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  check(ioctl(master, TIOCSPTLCK, pinned(4)), "ioctl TIOCSPTLCK");
  return [master, check(ioctlNumber(master, TIOCGPTPEER, constants.O_RDWR | constants.O_NOCTTY), "ioctl TIOCGPTPEER")];
}

interface Scene {
  readonly stdin: PassThrough;
  /** Where to write what the console shows, and to read what the caller got of it. */
  readonly shows: number;
  readonly seen: number;
  readonly output: FdReader;
  readonly link: ConsoleLink;
  readonly happened: string[];
}

const NO_TERMINAL = { size: undefined, lend: () => undefined, takeBack: () => undefined };

/** A caller of pipes, which is no terminal. */
function scene(input = true, begins?: Buffer): Scene {
  const stdin = new PassThrough();
  const [shown, shows] = pipe();
  const [seen, given] = pipe();
  const [output, stdout] = [new FdReader(shown, true), new SteadyOutput(given)];
  closeSync(given);
  const happened: string[] = [];
  const link = new ConsoleLink({
    caller: { stdin, stdout, terminal: NO_TERMINAL } as unknown as Caller,
    output,
    input,
    begins,
    onEscape: () => happened.push("escape"),
    onLost: () => happened.push("lost"),
  });
  return { stdin, shows, seen, output, link, happened };
}

describe("a console's link", () => {
  test("passes output on and input in, and stops at close", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const { stdin, shows, seen, output, link } = scene();
    link.connect(master);
    writeSync(shows, "from the console");
    const shown = Buffer.alloc(16);
    await expect.poll(() => readable(seen, shown)).toBe("from the console");
    stdin.write("typed");
    const got = Buffer.alloc(16);
    await expect.poll(() => readable(side, got)).toBe("typed");
    link.close();
    stdin.write("too late");
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const fd of [master, side, shows, seen]) closeSync(fd);
    expect(output.closed).toBe(true);
  });

  test("types nothing before what is to come first has come, and shows all but that", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const { stdin, shows, seen, link } = scene(true, Buffer.from("<now>"));
    stdin.write("typed");
    link.connect(master);
    writeSync(shows, "setting up ");
    await expect.poll(() => readable(seen, Buffer.alloc(32))).toBe("setting up ");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(readable(side, Buffer.alloc(16))).toBe("");
    writeSync(shows, "<now>here");
    await expect.poll(() => readable(side, Buffer.alloc(16))).toBe("typed");
    await expect.poll(() => readable(seen, Buffer.alloc(32))).toBe("here");
    link.close();
    for (const fd of [master, side, shows, seen]) closeSync(fd);
  });

  test("types all the same where that never comes", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const { stdin, shows, seen, link } = scene(true, Buffer.from("<now>"));
    stdin.write("typed");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    link.connect(master);
    vi.advanceTimersByTime(10_000);
    vi.useRealTimers();
    await expect.poll(() => readable(side, Buffer.alloc(16))).toBe("typed");
    link.close();
    for (const fd of [master, side, shows, seen]) closeSync(fd);
  });

  test("holds input back while the console takes none, and then hands on all of it", async () => {
    const [master, side] = pseudoTerminal();
    makeRaw(side);
    const { stdin, shows, seen, link } = scene();
    link.connect(master);
    const text = Buffer.from(Array.from({ length: 300_000 }, (_, i) => 0x20 + (i % 90)));
    stdin.end(text);
    const chunks: Buffer[] = [];
    const chunk = Buffer.alloc(8192);
    await expect
      .poll(
        () => {
          for (let part = readable(side, chunk, true); part !== undefined; part = readable(side, chunk, true))
            chunks.push(Buffer.from(part, "latin1"));
          return Buffer.concat(chunks).length;
        },
        { interval: 1, timeout: 10_000 },
      )
      .toBe(text.length);
    expect(Buffer.concat(chunks).equals(text)).toBe(true);
    link.close();
    for (const fd of [master, side, shows, seen]) closeSync(fd);
  });

  test("without input reads none", async () => {
    const [master, side] = pseudoTerminal();
    const { stdin, shows, seen, link } = scene(false);
    link.connect(master);
    stdin.write("typed");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(stdin.readableLength).toBe(5);
    link.close();
    for (const fd of [master, side, shows, seen]) closeSync(fd);
  });

  test("whose caller is gone says so, and goes on reading so that the machine's console does not stand still", async () => {
    const [master, side] = pseudoTerminal();
    const { shows, seen, output, link, happened } = scene();
    link.connect(master);
    closeSync(seen);
    writeSync(shows, "to nobody");
    await expect.poll(() => happened).toEqual(["lost"]);
    for (let i = 0; i < 20; i++) {
      writeSync(shows, Buffer.alloc(32 << 10)); // waits for ever if nobody reads
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    closeSync(shows);
    await link.drained();
    expect(output.closed).toBe(true);
    expect(happened).toEqual(["lost"]);
    link.close();
    for (const fd of [master, side]) closeSync(fd);
  });
});

/** What can be read there now; undefined: nothing. */
function readable(side: number, into: Buffer, many = false): string | undefined {
  const path = `/proc/self/fd/${side}`;
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK);
  try {
    return into.toString("latin1", 0, readSync(fd, into));
  } catch {
    return many ? undefined : "";
  } finally {
    closeSync(fd);
  }
}
