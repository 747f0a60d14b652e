import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SOCK_STREAM } from "../../../src/sys/constants.ts";
import { closeQuietly, openNull } from "../../../src/sys/files.ts";
import { whenReadable } from "../../../src/sys/poll.ts";
import { receive, send, sendWithFds, socketPair } from "../../../src/sys/sockets.ts";
import {
  acceptStream,
  connectStream,
  FdStream,
  listenStream,
  peerCredentials,
  peerPidfd,
} from "../../../src/sys/unix-stream.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-test-stream-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const openFds = (): number => readdirSync("/proc/self/fd").length;

/** What a stream hears, as one text, its fds, and how it ended. */
function listener() {
  const heard = { text: "", bytes: 0, fds: [] as number[], ended: false, error: undefined as Error | undefined };
  return {
    heard,
    handlers: {
      onData(chunk: Buffer, fds: number[]) {
        heard.bytes += chunk.length;
        if (chunk.length < 100) heard.text += chunk.toString();
        heard.fds.push(...fds);
      },
      onEnd(error?: Error) {
        heard.ended = true;
        heard.error = error;
      },
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !condition(); await sleep(2))
    if (performance.now() > end) throw new Error("what was waited for did not come");
}

test.for([
  ["a short path", "socket"],
  ["a path longer than an address", `${"long/".repeat(40)}socket`],
] as const)("listens and connects: %s", async ([, name]) => {
  const path = join(directory, name);
  mkdirSync(join(path, ".."), { recursive: true });
  const listening = listenStream(path, 0o640);
  expect(statSync(path).mode & 0o777).toBe(0o640);
  expect(acceptStream(listening)).toBeNull();
  const client = await connectStream(path);
  await whenReadable(listening);
  const server = acceptStream(listening) ?? -1;
  send(client, Buffer.from("hello"));
  expect(receive(server)?.data.toString()).toBe("hello");
  expect(receive(server)).toBeNull();
  for (const fd of [client, server, listening]) closeSync(fd);
  await expect(connectStream(path)).rejects.toThrow(/ECONNREFUSED/);
  closeSync(listenStream(path, 0o600));
});

test("connects to an abstract name, and says which it could not", async () => {
  await expect(connectStream("\0berth-test-nobody")).rejects.toThrow(/connect @berth-test-nobody: ECONNREFUSED/);
  const name = `\0berth-test-${process.pid}`;
  const { createServer } = await import("node:net");
  const server = createServer((connection) => connection.end("abstract"));
  await new Promise<void>((resolve) => server.listen(name, resolve));
  const { heard, handlers } = listener();
  new FdStream(await connectStream(name), handlers);
  await until(() => heard.ended);
  server.close();
  expect(heard).toMatchObject({ text: "abstract", error: undefined });
});

test("a file that is no socket stays where it is", () => {
  const path = join(directory, "socket");
  writeFileSync(path, "precious");
  expect(() => listenStream(path, 0o600)).toThrow("is in the place of a socket");
});

test("the kernel says who is on the other side", () => {
  const [one, other] = socketPair(SOCK_STREAM);
  expect(peerCredentials(one)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  const pidfd = peerPidfd(one);
  // Linux 6.5.
  if (pidfd !== null) {
    expect(fstatSync(pidfd)).toBeDefined();
    closeSync(pidfd);
  }
  closeSync(one);
  closeSync(other);
});

test("bytes and fds arrive in order, and no fd is left over", async () => {
  const before = openFds();
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, { onData: () => undefined, onEnd: () => undefined });
  const b = new FdStream(other, handlers);
  const files = [0, 1, 2, 3].map((index) => {
    const path = join(directory, `${index}`);
    writeFileSync(path, "");
    return path;
  });
  const [f0 = "", f1 = "", f2 = "", f3 = ""] = files;
  a.write(Buffer.from("first,"));
  a.write(Buffer.from("second,"), [openSync(f0, "r"), openSync(f1, "r")]);
  a.write(Buffer.from("third,"), [openSync(f2, "r")]);
  a.write(Buffer.from("fourth,"));
  a.write(Buffer.from("fifth"), [openSync(f3, "r")]);
  await a.flush();
  await until(() => heard.text.endsWith("fifth"));
  expect(heard.text).toBe("first,second,third,fourth,fifth");
  expect(heard.fds.map((fd) => fstatSync(fd).ino)).toEqual(files.map((path) => statSync(path).ino));
  for (const fd of heard.fds) closeSync(fd);
  a.close();
  await until(() => heard.ended);
  expect(heard.error).toBeUndefined();
  b.close();
  expect(openFds()).toBeLessThanOrEqual(before); // the runner may close one of its own
});

test("what the other side does not read waits, with its fds, and is sent when it does", async () => {
  const before = openFds();
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, { onData: () => undefined, onEnd: () => undefined });
  const b = new FdStream(other, handlers);
  b.pause();
  const big = Buffer.alloc(3 << 20, 1);
  a.write(big);
  a.write(Buffer.from("with an fd"), [openNull()]);
  expect(a.queued).toBeGreaterThan(1 << 20);
  let flushed = false;
  const flush = a.flush().then(() => {
    flushed = true;
  });
  await sleep(20);
  expect(flushed).toBe(false);
  b.resume();
  await flush;
  await until(() => heard.bytes === big.length + 10);
  expect(heard.fds.length).toBe(1);
  expect(a.queued).toBe(0);
  for (const fd of heard.fds) closeSync(fd);
  a.close();
  b.close();
  expect(openFds()).toBeLessThanOrEqual(before); // the runner may close one of its own
});

test("a peer that reads nothing is dropped at the limit, and what was to be sent to it is closed", async () => {
  const before = openFds();
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, handlers, { queueLimit: 1 << 20 });
  a.write(Buffer.alloc(1 << 20));
  const flush = a.flush();
  a.write(Buffer.alloc(1 << 20), [openNull()]);
  await expect(flush).rejects.toThrow("does not read");
  expect(heard).toMatchObject({ ended: true, error: { message: expect.stringContaining("does not read") } });
  a.write(Buffer.from("late"), [openNull()]);
  await expect(a.flush()).rejects.toThrow("does not read");
  closeSync(other);
  expect(openFds()).toBeLessThanOrEqual(before); // the runner may close one of its own
});

test("what a peer said before it went is heard although nothing can be sent to it", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, handlers);
  send(other, Buffer.from("last words"));
  closeSync(other);
  a.write(Buffer.from("too late"), [openNull()]);
  await expect(a.flush()).rejects.toThrow("EPIPE");
  await until(() => heard.ended);
  expect(heard.text).toBe("last words");
});

test("a peer that closes with unread bytes is the end, as any other", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, handlers);
  a.write(Buffer.from("never read"));
  closeSync(other);
  await until(() => heard.ended);
  expect(heard.error).toBeUndefined();
});

test("more fds than fit into one message are refused and closed", async () => {
  const before = openFds();
  const [one, other] = socketPair(SOCK_STREAM);
  const a = new FdStream(one, { onData: () => undefined, onEnd: () => undefined });
  a.write(
    Buffer.from("x"),
    Array.from({ length: 254 }, () => openNull()),
  );
  await expect(a.flush()).rejects.toThrow("254 fds");
  a.close();
  closeSync(other);
  expect(openFds()).toBeLessThanOrEqual(before); // the runner may close one of its own
});

test("fds without a byte are not sent, and closed", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  const a = new FdStream(one, listener().handlers);
  const fd = openNull();
  a.write(Buffer.alloc(0), [fd]);
  await expect(a.flush()).rejects.toThrow("1 fds can't be sent with 0 bytes");
  expect(() => fstatSync(fd)).toThrow("EBADF");
  a.close();
  closeSync(other);
});

test("bytes are looked at where they were read, and what is done with them is not heard", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const looked: string[] = [];
  const a = new FdStream(one, {
    ...handlers,
    onBytes(bytes, length) {
      looked.push(bytes.toString("latin1", 0, length));
      return length === 3;
    },
  });
  const say = async (text: string, fds: readonly number[] = []): Promise<void> => {
    const [before, bytes] = [looked.length, heard.bytes];
    if (fds.length > 0) sendWithFds(other, Buffer.from(text), fds);
    else send(other, Buffer.from(text));
    await until(() => looked.length > before || heard.bytes > bytes);
  };
  await say("more");
  await say("one");
  await say("other");
  await say("two");
  const fd = openNull();
  await say("fds", [fd]); // what comes with something else is not only looked at
  closeSync(fd);
  expect(looked).toEqual(["more", "one", "other", "two"]);
  expect(heard).toMatchObject({ text: "moreotherfds", ended: false });
  for (const one of heard.fds) closeQuietly(one);
  send(other, Buffer.from("end"));
  closeSync(other);
  await until(() => heard.ended);
  expect(looked.at(-1)).toBe("end");
  expect(heard).toMatchObject({ text: "moreotherfds", error: undefined });
  a.close();
});

test("253 fds in one message are received", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  const { heard, handlers } = listener();
  const a = new FdStream(one, handlers);
  const fd = openNull();
  sendWithFds(other, Buffer.from("x"), Array(253).fill(fd));
  await until(() => heard.fds.length > 0);
  expect(heard.fds.length).toBe(253);
  for (const one of heard.fds) closeQuietly(one);
  closeSync(fd);
  closeSync(other);
  a.close();
});

test("a stream that is closed in the middle of a read hears no more", async () => {
  const [one, other] = socketPair(SOCK_STREAM);
  let chunks = 0;
  const a = new FdStream(one, {
    onData() {
      chunks++;
      a.close();
    },
    onEnd: () => undefined,
  });
  const fd = openNull();
  sendWithFds(other, Buffer.from("one"), [fd]);
  sendWithFds(other, Buffer.from("two"), [fd]);
  await until(() => a.closed);
  await sleep(20);
  expect(chunks).toBe(1);
  closeSync(fd);
  closeSync(other);
});
