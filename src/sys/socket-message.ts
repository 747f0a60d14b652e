import {
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SOL_SOCKET,
} from "./constants.ts";
import { closeQuietly } from "./files.ts";
import { address, bind, check, failedWith, pinned } from "./libc.ts";

/** struct msghdr with its iovec and control messages, the same on x86-64 and arm64. */

const recvmsgCall = bind("long recvmsg(int fd, void *message, int flags)");
const sendmsgCall = bind("long sendmsg(int fd, void *message, int flags)");

const CMSG_HEADER = 16;
/** What the kernel carries in one message (SCM_MAX_FD). */
export const MAX_FDS = 253;
/** All the fds one message can have, and the sender's credentials. */
const CONTROL_SIZE = aligned(CMSG_HEADER + 4 * MAX_FDS) + aligned(CMSG_HEADER + 12);

function aligned(length: number): number {
  return (length + 7) & ~7;
}

/** A struct msghdr that points to these; all three are to be kept while the kernel reads it. */
function header(iovec: Buffer, data: Buffer, control: Buffer): Buffer {
  iovec.writeBigUInt64LE(address(data), 0);
  iovec.writeBigUInt64LE(BigInt(data.length), 8);
  const made = pinned(56);
  made.writeBigUInt64LE(address(iovec), 16);
  made.writeBigUInt64LE(1n, 24);
  made.writeBigUInt64LE(address(control), 32);
  made.writeBigUInt64LE(BigInt(control.length), 40);
  return made;
}

/** What the kernel reads of a message that is sent: here, so that no collection of garbage takes it away meanwhile. */
const sending: Record<"iovec" | "control" | "data", Buffer> = {
  iovec: pinned(16),
  control: pinned(CONTROL_SIZE),
  data: Buffer.alloc(0),
};

/** sendmsg(2) with fds (SCM_RIGHTS, at most MAX_FDS): the result as libc gives it. Never raises SIGPIPE. */
export function sendmsg(fd: number, data: Buffer, fds: readonly number[], flags = 0): number {
  const length = CMSG_HEADER + fds.length * 4;
  const control = sending.control.subarray(0, aligned(length));
  sending.data = data;
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((sent, index) => {
    control.writeInt32LE(sent, CMSG_HEADER + index * 4);
  });
  return sendmsgCall(fd, header(sending.iovec, data, control), MSG_NOSIGNAL | flags);
}

/** sendmsg(2) of a whole message with fds (SCM_RIGHTS, at most 253); never raises SIGPIPE. */
export function sendWithFds(fd: number, data: Buffer, fds: readonly number[]): void {
  check(sendmsg(fd, data, fds), "sendmsg");
}

export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Message {
  readonly data: Buffer;
  /** Received fds, close-on-exec; the receiver owns them and closes what it does not want. */
  readonly fds: readonly number[];
  /** More fds were sent than this process may have open: the kernel dropped some of them, and we the others. */
  readonly truncated: boolean;
  /** Sender's credentials as the kernel vouches for them, where SO_PASSCRED is on. */
  readonly credentials: Credentials | undefined;
}

/** Of the 32-bit words of a struct msghdr: the lower half of msg_controllen, and msg_flags. */
const [CONTROL_LENGTH, FLAGS] = [10, 12];

/** A struct msghdr, its iovec and the buffers they point to, set up once: one receive is one system call. */
export class Receiver {
  readonly #header: Buffer;
  readonly #words: Uint32Array;
  readonly #iovec = pinned(16);
  /** What `read` has read last is at its beginning. */
  readonly bytes: Buffer;
  readonly #control = pinned(CONTROL_SIZE);

  constructor(size: number) {
    this.bytes = pinned(size);
    this.#header = header(this.#iovec, this.bytes, this.#control);
    this.#words = new Uint32Array(this.#header.buffer);
  }

  /** One message, without waiting; null: nothing there now (EAGAIN). An empty `data` is end of file. */
  receive(fd: number): Message | null {
    const length = this.read(fd);
    return length === null ? null : this.take(length);
  }

  /** The same in two steps: how many bytes there are. */
  read(fd: number): number | null {
    this.#words[CONTROL_LENGTH] = CONTROL_SIZE;
    const result = recvmsgCall(fd, this.#header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (result < 0 && failedWith("EAGAIN", "EINTR")) return null;
    return check(result, "recvmsg");
  }

  /** The bytes that were read are all there is: who has no need of them may leave it at that. */
  get isBare(): boolean {
    return this.#words[CONTROL_LENGTH] === 0 && !this.#isTruncated;
  }

  /** And the message that they are a part of. */
  take(length: number): Message {
    const message = this.#parse(length);
    if (!message.truncated) return message;
    for (const extra of message.fds) closeQuietly(extra);
    return { ...message, fds: [] };
  }

  get #isTruncated(): boolean {
    return ((this.#words[FLAGS] ?? 0) & MSG_CTRUNC) !== 0;
  }

  #parse(length: number): Message {
    const data = Buffer.from(this.bytes.subarray(0, length));
    const end = this.#words[CONTROL_LENGTH] ?? 0;
    const fds: number[] = [];
    let credentials: Message["credentials"];
    // struct cmsghdr: u64 length (with this header), i32 level, i32 type; the next one is 8-byte aligned.
    for (let at = 0; at + CMSG_HEADER <= end; ) {
      const size = Number(this.#control.readBigUInt64LE(at));
      if (size < CMSG_HEADER || at + size > end) break;
      const level = this.#control.readInt32LE(at + 8);
      const type = this.#control.readInt32LE(at + 12);
      if (level === SOL_SOCKET && type === SCM_RIGHTS) {
        for (let fd = at + CMSG_HEADER; fd + 4 <= at + size; fd += 4) fds.push(this.#control.readInt32LE(fd));
      } else if (level === SOL_SOCKET && type === SCM_CREDENTIALS && size >= 28) {
        const [pid, uid, gid] = [0, 4, 8].map((offset) => this.#control.readUInt32LE(at + CMSG_HEADER + offset));
        credentials = { pid: pid as number, uid: uid as number, gid: gid as number };
      }
      at += aligned(size);
    }
    return { data, fds, truncated: this.#isTruncated, credentials };
  }
}

let shared: Receiver | undefined;

/** recvmsg(2) without waiting, up to 4096 bytes and all fds. */
export function receive(fd: number): Message | null {
  shared ??= new Receiver(4096);
  return shared.receive(fd);
}
