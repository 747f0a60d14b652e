import {
  AF_UNIX,
  MSG_NOSIGNAL,
  SO_PASSCRED,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOL_SOCKET,
} from "./constants.ts";
import { closeQuietly } from "./files.ts";
import { bind, check, pinned } from "./libc.ts";

export { type Message, receive, sendWithFds } from "./socket-message.ts";

const socketpairCall = bind("int socketpair(int domain, int type, int protocol, _Out_ int *fds)");
const socketCall = bind("int socket(int domain, int type, int protocol)");
const bindCall = bind("int bind(int fd, void *address, uint length)");
const listenCall = bind("int listen(int fd, int backlog)");
const connectCall = bind("int connect(int fd, void *address, uint length)");
const setsockoptCall = bind("int setsockopt(int fd, int level, int name, void *value, uint length)");
const sendCall = bind("long send(int fd, void *data, size_t length, int flags)");
const shutdownCall = bind("int shutdown(int fd, int how)");
const pipe2Call = bind("int pipe2(_Out_ int *fds, int flags)");

/** socketpair(2) of AF_UNIX and `type` (SOCK_*), both ends close-on-exec. */
export function socketPair(type: number): [number, number] {
  const fds = [0, 0];
  check(socketpairCall(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), "socketpair");
  return [fds[0] as number, fds[1] as number];
}

/** pipe2(2), both ends close-on-exec: [read end, write end]. */
export function pipe(): [number, number] {
  const fds = [0, 0];
  check(pipe2Call(fds, SOCK_CLOEXEC), "pipe2");
  return [fds[0] as number, fds[1] as number];
}

/** A struct sockaddr_un of a path, or of an abstract name where `path` begins with NUL. At most 107 bytes. */
export function unixAddress(path: string): Buffer {
  const name = Buffer.from(path);
  const sockaddr = pinned(2 + name.length + (path.startsWith("\0") ? 0 : 1));
  sockaddr.writeUInt16LE(AF_UNIX, 0);
  name.copy(sockaddr, 2);
  return sockaddr;
}

/**
 * A non-blocking AF_UNIX datagram socket bound to `path` (at most 107 bytes: use a short one such as
 * /proc/self/fd/N/name), or to the abstract name `path` where it begins with NUL; receives the sender's credentials.
 */
export function boundDatagramSocket(path: string): number {
  return openSocket(SOCK_DGRAM, (fd) => {
    const sockaddr = unixAddress(path);
    check(bindCall(fd, sockaddr, sockaddr.length), "bind", { path });
    const one = pinned(4);
    one.writeInt32LE(1);
    check(setsockoptCall(fd, SOL_SOCKET, SO_PASSCRED, one, 4), "setsockopt SO_PASSCRED");
  });
}

/** An AF_UNIX socket for messages that waits for others to connect to it at `path`, as short as above. */
export function listeningSocket(path: string): number {
  return openSocket(SOCK_SEQPACKET, (fd) => {
    const sockaddr = unixAddress(path);
    check(bindCall(fd, sockaddr, sockaddr.length), "bind", { path });
    check(listenCall(fd, 8), "listen", { path });
  });
}

/**
 * One that is connected to such a one, or to a datagram socket by its `type`.
 * @throws SysError ECONNREFUSED: nobody has it any more; EAGAIN: too many wait
 */
export function connectedSocket(path: string, type = SOCK_SEQPACKET): number {
  return openSocket(type, (fd) => {
    const sockaddr = unixAddress(path);
    check(connectCall(fd, sockaddr, sockaddr.length), "connect", { path });
  });
}

function openSocket(type: number, prepare: (fd: number) => void): number {
  const fd = check(socketCall(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  try {
    prepare(fd);
    return fd;
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

/** send(2) of a whole message; never raises SIGPIPE. */
export function send(fd: number, data: Buffer): void {
  check(sendCall(fd, data, data.length, MSG_NOSIGNAL), "send");
}

/** shutdown(2) of the writing half: the other side reads end of file, and may still send. */
export function shutdownWrites(fd: number): void {
  const SHUT_WR = 1;
  check(shutdownCall(fd, SHUT_WR), "shutdown");
}
