import {
  AF_UNIX,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SO_PASSCRED,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "./constants.ts";
import { closeQuietly } from "./files.ts";
import { address, bind, check, failedWith, pinned } from "./libc.ts";

const socketpairCall = bind("int socketpair(int domain, int type, int protocol, _Out_ int *fds)");
const socketCall = bind("int socket(int domain, int type, int protocol)");
const bindCall = bind("int bind(int fd, void *address, uint length)");
const setsockoptCall = bind("int setsockopt(int fd, int level, int name, void *value, uint length)");
const recvmsgCall = bind("long recvmsg(int fd, void *message, int flags)");
const sendmsgCall = bind("long sendmsg(int fd, void *message, int flags)");
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

/**
 * A non-blocking AF_UNIX datagram socket bound to `path` (at most 107 bytes: use a short one such as
 * /proc/self/fd/N/name), or to the abstract name `path` where it begins with NUL; receives the sender's credentials.
 */
export function boundDatagramSocket(path: string): number {
  const fd = check(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  try {
    const name = Buffer.from(path);
    const sockaddr = pinned(2 + name.length + (path.startsWith("\0") ? 0 : 1));
    sockaddr.writeUInt16LE(AF_UNIX, 0);
    name.copy(sockaddr, 2);
    check(bindCall(fd, sockaddr, sockaddr.length), "bind", { path });
    const one = pinned(4);
    one.writeInt32LE(1);
    check(setsockoptCall(fd, SOL_SOCKET, SO_PASSCRED, one, 4), "setsockopt SO_PASSCRED");
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

/** sendmsg(2) of a whole message with fds (SCM_RIGHTS, at most 253); never raises SIGPIPE. */
export function sendWithFds(fd: number, data: Buffer, fds: readonly number[]): void {
  const length = 16 + fds.length * 4;
  const control = pinned((length + 7) & ~7);
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((sent, index) => {
    control.writeInt32LE(sent, 16 + index * 4);
  });
  const content = pinned(data.length);
  data.copy(content);
  const iovec = pinned(16);
  iovec.writeBigUInt64LE(address(content), 0);
  iovec.writeBigUInt64LE(BigInt(content.length), 8);
  const header = pinned(56);
  header.writeBigUInt64LE(address(iovec), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(address(control), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  check(sendmsgCall(fd, header, MSG_NOSIGNAL), "sendmsg");
}

export interface Message {
  readonly data: Buffer;
  /** Received fds, close-on-exec; the receiver owns them and closes what it does not want. */
  readonly fds: readonly number[];
  /** Sender's credentials as the kernel vouches for them, where SO_PASSCRED is on. */
  readonly credentials: { readonly pid: number; readonly uid: number; readonly gid: number } | undefined;
}

const CONTROL_SIZE = 1024;
/** A struct msghdr, its iovec and the buffers they point to, set up once: one receive is one system call. */
class Receiver {
  readonly #header = pinned(56);
  readonly #iovec = pinned(16);
  readonly #data: Buffer;
  readonly #control = pinned(CONTROL_SIZE);

  constructor(size: number) {
    this.#data = pinned(size);
    this.#iovec.writeBigUInt64LE(address(this.#data), 0);
    this.#iovec.writeBigUInt64LE(BigInt(size), 8);
    this.#header.writeBigUInt64LE(address(this.#iovec), 16);
    this.#header.writeBigUInt64LE(1n, 24);
    this.#header.writeBigUInt64LE(address(this.#control), 32);
  }

  /** One message; null: nothing there now (EAGAIN). An empty `data` is end of file. */
  receive(fd: number, flags: number): Message | null {
    this.#header.writeBigUInt64LE(BigInt(CONTROL_SIZE), 40);
    const result = recvmsgCall(fd, this.#header, MSG_CMSG_CLOEXEC | flags);
    if (result < 0 && failedWith("EAGAIN", "EINTR")) return null;
    check(result, "recvmsg");
    const message = this.#parse(result);
    // More fds than fit were dropped by the kernel: nothing we talk to sends that many, so it is hostile or broken.
    if ((this.#header.readInt32LE(48) & MSG_CTRUNC) !== 0) {
      for (const extra of message.fds) closeQuietly(extra);
      return { ...message, fds: [] };
    }
    return message;
  }

  #parse(length: number): Message {
    const fds: number[] = [];
    let credentials: Message["credentials"];
    const end = Number(this.#header.readBigUInt64LE(40));
    // struct cmsghdr: u64 length (with this header), i32 level, i32 type; the next one is 8-byte aligned.
    for (let at = 0; at + 16 <= end; ) {
      const size = Number(this.#control.readBigUInt64LE(at));
      if (size < 16 || at + size > end) break;
      const level = this.#control.readInt32LE(at + 8);
      const type = this.#control.readInt32LE(at + 12);
      if (level === SOL_SOCKET && type === SCM_RIGHTS) {
        for (let fd = at + 16; fd + 4 <= at + size; fd += 4) fds.push(this.#control.readInt32LE(fd));
      } else if (level === SOL_SOCKET && type === SCM_CREDENTIALS && size >= 28) {
        const [pid, uid, gid] = [0, 4, 8].map((offset) => this.#control.readUInt32LE(at + 16 + offset));
        credentials = { pid: pid as number, uid: uid as number, gid: gid as number };
      }
      at += (size + 7) & ~7;
    }
    return { data: Buffer.from(this.#data.subarray(0, length)), fds, credentials };
  }
}

let shared: Receiver | undefined;

/** recvmsg(2) without waiting, up to 4096 bytes and 250 fds. */
export function receive(fd: number): Message | null {
  shared ??= new Receiver(4096);
  return shared.receive(fd, MSG_DONTWAIT);
}
