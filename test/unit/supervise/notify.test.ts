import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type Notification, parseNotification, watchNotifications } from "../../../src/supervise/notify.ts";
import { AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET } from "../../../src/sys/constants.ts";
import { closeQuietly, openNull } from "../../../src/sys/files.ts";
import { address, bind, check, failedWith, pinned } from "../../../src/sys/libc.ts";
import { boundDatagramSocket, pipe } from "../../../src/sys/sockets.ts";
import { openFds } from "../../lib/leaks.ts";

describe("a message", () => {
  test.each([
    ["READY=1", { ready: true, stopping: false }],
    ["READY=1\nSTATUS=up and running\n", { ready: true, status: "up and running" }],
    ["STOPPING=1", { ready: false, stopping: true }],
    ["READY=0", { ready: false }],
    ["READY=10", { ready: false }],
    ["ready=1", { ready: false }],
    ["STATUS=a=b", { status: "a=b" }],
    ["STATUS=first\nSTATUS=second", { status: "second" }],
    ["STATUS=", { status: "" }],
    ["", { ready: false, status: undefined, stopping: false }],
    ["=\n\nREADY\n=1\nREADY", { ready: false }],
    ["__proto__=x\nconstructor=y", { ready: false, status: undefined, stopping: false }],
    ["READY=1\0", { ready: false }],
  ])("%j", (text, expected) => {
    expect(parseNotification(text)).toMatchObject(expected);
  });

  test("has a status of at most 512 characters", () => {
    expect(parseNotification(`STATUS=${"x".repeat(4000)}`).status).toBe("x".repeat(512));
  });
});

const socketCall = bind("int socket(int domain, int type, int protocol)");
const connectCall = bind("int connect(int fd, void *address, uint length)");
const sendmsgCall = bind("long sendmsg(int fd, void *message, int flags)");

const MSG_DONTWAIT = 0x40;

/** Sends datagrams, each with an fd in it, to whatever is bound to `path`. */
class Sender implements Disposable {
  readonly #socket = check(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

  constructor(path: string) {
    const name = Buffer.from(path);
    const sockaddr = pinned(3 + name.length);
    sockaddr.writeUInt16LE(AF_UNIX, 0);
    name.copy(sockaddr, 2);
    check(connectCall(this.#socket, sockaddr, sockaddr.length), "connect");
  }

  /** False: there is no room now. */
  send(text: string, fd: number): boolean {
    const data = pinned(text.length);
    data.write(text);
    const iovec = pinned(16);
    iovec.writeBigUInt64LE(address(data), 0);
    iovec.writeBigUInt64LE(BigInt(text.length), 8);
    const control = pinned(24);
    control.writeBigUInt64LE(20n, 0);
    control.writeInt32LE(SOL_SOCKET, 8);
    control.writeInt32LE(SCM_RIGHTS, 12);
    control.writeInt32LE(fd, 16);
    const header = pinned(56);
    header.writeBigUInt64LE(address(iovec), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(address(control), 32);
    header.writeBigUInt64LE(BigInt(control.length), 40);
    const result = sendmsgCall(this.#socket, header, MSG_DONTWAIT);
    if (result < 0 && failedWith("EAGAIN")) return false;
    check(result, "sendmsg");
    return true;
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#socket);
  }
}

function sendWithFd(path: string, text: string, fd: number): void {
  using sender = new Sender(path);
  expect(sender.send(text, fd)).toBe(true);
}

describe("a notify socket", () => {
  interface Heard extends Disposable {
    readonly path: string;
    readonly all: Notification[];
  }

  function listen(leader: number): Heard {
    const directory = mkdtempSync(join(tmpdir(), "notify-"));
    const path = join(directory, "socket");
    const socket = boundDatagramSocket(path);
    const all: Notification[] = [];
    const unwatch = watchNotifications(socket, leader, (notification) => all.push(notification));
    return {
      path,
      all,
      [Symbol.dispose]() {
        unwatch();
        closeQuietly(socket);
        rmSync(directory, { recursive: true });
      },
    };
  }

  test("hears the leader, and closes the fds that come with a message", async () => {
    using heard = listen(process.pid);
    const [readEnd, writeEnd] = pipe();
    const before = openFds("self");
    sendWithFd(heard.path, "READY=1", readEnd);
    sendWithFd(heard.path, "STATUS=x", readEnd);
    await expect.poll(() => heard.all).toMatchObject([{ ready: true }, { status: "x" }]);
    expect(openFds("self")).toEqual(before);
    for (const fd of [readEnd, writeEnd]) closeQuietly(fd);
  });

  test("hears nobody else, and closes their fds too", async () => {
    using heard = listen(1);
    const [readEnd, writeEnd] = pipe();
    const before = openFds("self");
    sendWithFd(heard.path, "READY=1", readEnd);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard.all).toEqual([]);
    expect(openFds("self")).toEqual(before);
    for (const fd of [readEnd, writeEnd]) closeQuietly(fd);
  });

  /** Each as soon as there is room for it. */
  async function sendAll(path: string, texts: readonly string[]): Promise<void> {
    const nothing = openNull();
    using sender = new Sender(path);
    for (const text of texts) while (!sender.send(text, nothing)) await sleep(1);
    closeQuietly(nothing);
  }

  test("says at once, and once, that it is ready or stops; together with the status before", async () => {
    using heard = listen(process.pid);
    await sendAll(heard.path, [
      "STATUS=a",
      "STATUS=b",
      "X_UNKNOWN=1",
      "READY=1",
      "READY=1",
      "STOPPING=1",
      "STOPPING=1",
    ]);
    await expect
      .poll(() => heard.all)
      .toEqual([
        { ready: true, status: "b", stopping: false },
        { ready: false, status: undefined, stopping: true },
      ]);
    await sleep(300);
    expect(heard.all).toHaveLength(2);
  });

  test("passes on few of many statuses, and always the last", async () => {
    using heard = listen(process.pid);
    const began = performance.now();
    await sendAll(
      heard.path,
      Array.from({ length: 40 }, (_, index) => `STATUS=${index}`),
    );
    await expect.poll(() => heard.all.at(-1)?.status).toBe("39");
    expect(heard.all.length).toBeLessThanOrEqual(1 + (performance.now() - began) / 200);
  });

  test("is left alone for a while when enough of it has been read", async () => {
    using heard = listen(1);
    using sender = new Sender(heard.path);
    const nothing = openNull();
    const began = performance.now();
    const room = Number(readFileSync("/proc/sys/net/unix/max_dgram_qlen", "utf8")) + 1;
    let sent = 0;
    // Longer on a machine that is too busy to fill it.
    while (performance.now() < began + (sent > room ? 500 : 5000)) {
      while (sender.send("STATUS=x", nothing)) sent++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    // 64 in 50 ms, an fd counts as much as the message it comes in; and as many as the socket has room for.
    const intervals = 1 + Math.ceil((performance.now() - began) / 50);
    expect(sent).toBeLessThanOrEqual(32 * intervals + room);
    expect(sent).toBeGreaterThan(room);
    closeQuietly(nothing);
  });
});
