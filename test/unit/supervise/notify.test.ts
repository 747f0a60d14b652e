import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Notification, parseNotification, watchNotifications } from "../../../src/supervise/notify.ts";
import { AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET } from "../../../src/sys/constants.ts";
import { closeQuietly } from "../../../src/sys/files.ts";
import { address, bind, check, pinned } from "../../../src/sys/libc.ts";
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

/** One datagram with an fd in it. */
function sendWithFd(path: string, text: string, fd: number): void {
  const name = Buffer.from(path);
  const sockaddr = pinned(3 + name.length);
  sockaddr.writeUInt16LE(AF_UNIX, 0);
  name.copy(sockaddr, 2);
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
  const socket = check(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  try {
    check(connectCall(socket, sockaddr, sockaddr.length), "connect");
    check(sendmsgCall(socket, header, 0), "sendmsg");
  } finally {
    closeQuietly(socket);
  }
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
});
