import { chmodSync, closeSync, lstatSync, openSync, rmSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import {
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  O_PATH,
  SO_PEERCRED,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./constants.ts";
import { closeQuietly, O_DIRECTORY } from "./files.ts";
import { bind, check, failedWith, failure, pinned } from "./libc.ts";
import { type Unwatch, watch } from "./poll.ts";
import { type Credentials, MAX_FDS, Receiver, sendmsg } from "./socket-message.ts";
import { unixAddress } from "./sockets.ts";

const socketCall = bind("int socket(int domain, int type, int protocol)");
const bindCall = bind("int bind(int fd, void *address, uint length)");
const listenCall = bind("int listen(int fd, int backlog)");
const acceptCall = bind("int accept4(int fd, void *address, void *length, int flags)");
const connectCall = bind("int connect(int fd, void *address, uint length)");
const getsockoptCall = bind("int getsockopt(int fd, int level, int name, void *value, void *length)");
const sendCall = bind("long send(int fd, void *data, size_t length, int flags)");

/** sizeof sun_path, less its NUL. */
const PATH_BYTES = 107;
/** The kernel lowers it to net.core.somaxconn. */
const BACKLOG = 4096;
/** asm-generic/socket.h of Linux 6.5. */
const SO_PEERPIDFD = 77;
/** How long a full backlog is waited for. */
const CONNECT_MS = 5000;

/** A non-blocking, listening stream socket at `path`, in place of a socket that lies there. */
export function listenStream(path: string, mode: number): number {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isSocket() === false)
    throw new BerthError(`${path} is in the place of a socket`, { hint: "move it away: it was not made by berth" });
  if (found) rmSync(path, { force: true });
  const fd = openSocket();
  try {
    withAddress(path, (address) => check(bindCall(fd, address, address.length), "bind", { path }));
    // Nobody can connect before listen(2), so nobody gets in by the mode the umask made.
    chmodSync(path, mode);
    check(listenCall(fd, BACKLOG), "listen", { path });
    return fd;
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

/** accept4(2): a non-blocking, close-on-exec connection; null: nobody is waiting. */
export function acceptStream(fd: number): number | null {
  const result = acceptCall(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (result < 0 && failedWith("EAGAIN", "EINTR", "ECONNABORTED")) return null;
  return check(result, "accept4");
}

/**
 * A non-blocking connection to the socket at a path, or with an abstract name (begins with NUL).
 * @throws SysError, with ENOENT or ECONNREFUSED where nobody listens
 */
export async function connectStream(path: string): Promise<number> {
  const fd = openSocket();
  try {
    // AF_UNIX connects at once or never: EAGAIN is a full backlog, and nothing says when it has room again.
    for (const end = performance.now() + CONNECT_MS; ; await sleep(5)) {
      const connected = withAddress(path, (address) => {
        const result = connectCall(fd, address, address.length);
        if (result < 0 && failedWith("EAGAIN", "EINTR") && performance.now() < end) return false;
        check(result, "connect", { path: path.replace("\0", "@") });
        return true;
      });
      if (connected) return fd;
    }
  } catch (error) {
    closeQuietly(fd);
    throw error;
  }
}

function openSocket(): number {
  return check(socketCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
}

/** Calls with a struct sockaddr_un, within which errno is looked at; a path that is too long for one goes through the fd of its directory. */
function withAddress<T>(path: string, call: (address: Buffer) => T): T {
  if (Buffer.byteLength(path) <= PATH_BYTES) return call(unixAddress(path));
  const name = basename(path);
  if (path.startsWith("\0") || Buffer.byteLength(name) > 64)
    throw new BerthError(`the name of the socket ${path.replace("\0", "@")} is too long`, {
      hint: "a name of up to 64 bytes works everywhere",
    });
  const directory = openSync(dirname(path), O_PATH | O_DIRECTORY);
  try {
    return call(unixAddress(`/proc/self/fd/${directory}/${name}`));
  } finally {
    closeSync(directory);
  }
}

/** Who connected, or who listened, as it was then (SO_PEERCRED). A pid alone may be somebody else's by now. */
export function peerCredentials(fd: number): Credentials {
  const ucred = pinned(12);
  check(socketOption(fd, SO_PEERCRED, ucred), "getsockopt SO_PEERCRED");
  const [pid, uid, gid] = [0, 4, 8].map((offset) => ucred.readUInt32LE(offset));
  return { pid: pid as number, uid: uid as number, gid: gid as number };
}

/** A pidfd of who connected (Linux 6.5), close-on-exec; null: the kernel is older, or the process is gone. */
export function peerPidfd(fd: number): number | null {
  const pidfd = pinned(4);
  const result = socketOption(fd, SO_PEERPIDFD, pidfd);
  if (result < 0 && failedWith("ENOPROTOOPT", "ESRCH", "EINVAL", "ENODATA")) return null;
  check(result, "getsockopt SO_PEERPIDFD");
  return pidfd.readInt32LE(0);
}

function socketOption(fd: number, name: number, value: Buffer): number {
  const length = pinned(4);
  length.writeUInt32LE(value.length);
  return getsockoptCall(fd, SOL_SOCKET, name, value, length);
}

export interface StreamHandlers {
  /** Whether it has done all that is to be done with bytes that came, with nothing beside: the first `length`, until it returns. */
  onBytes?(bytes: Buffer, length: number): boolean;
  /** `chunk` is the receiver's to keep, and so are `fds` (close-on-exec), which came with it in this order. */
  onData(chunk: Buffer, fds: number[]): void;
  /** Once, when the other side has closed (no error) or the stream broke; not after `close()`. The fd is closed then. */
  onEnd(error?: Error): void;
}

interface Queued {
  data: Buffer;
  fds: readonly number[];
}

/** All streams' reads go through it: what it holds is copied out before anybody is called. */
let receiver: Receiver | undefined;
const READ_SIZE = 64 << 10;
/** Reads of one turn: a peer that never stops must not keep all others from theirs. */
const READS = 8;
/** A peer that reads no more is dropped when so many bytes wait for it. */
const QUEUE_LIMIT = 64 << 20;

/** Bytes and fds over a connected AF_UNIX stream, both ways, without ever waiting. Takes over the fd. */
export class FdStream {
  readonly #fd: number;
  readonly #handlers: StreamHandlers;
  readonly #limit: number;
  readonly #queue: Queued[] = [];
  #queued = 0;
  #flushers: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #unwatch: Unwatch | undefined;
  /** What of: 1 for reading, 2 for writing. */
  #watching = 0;
  #paused = false;
  #writeError: Error | undefined;
  #closed = false;

  constructor(fd: number, handlers: StreamHandlers, options: { readonly queueLimit?: number } = {}) {
    this.#fd = fd;
    this.#handlers = handlers;
    this.#limit = options.queueLimit ?? QUEUE_LIMIT;
    this.#rewatch();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that wait for the other side to read. */
  get queued(): number {
    return this.#queued;
  }

  /**
   * Sends, now or when the other side has read enough; `data` must not be changed after it, and `fds` are the stream's
   * from here: it closes them once they are sent, or can't be. What can't be sent is reported by `flush` and `onEnd`.
   */
  write(data: Buffer, fds: readonly number[] = []): void {
    if (data.length === 0 && fds.length === 0) return;
    if (this.#closed) this.#writeError ??= new Error("the stream is closed");
    if (this.#writeError) {
      closeAll(fds);
      return;
    }
    const left = this.#queue.length === 0 && fds.length === 0 ? this.#sendAtOnce(data) : data;
    if (left === undefined) return;
    this.#queue.push({ data: left, fds });
    this.#queued += left.length;
    if (fds.length > MAX_FDS || (fds.length > 0 && data.length === 0))
      this.#breakWrites(new Error(`${fds.length} fds can't be sent with ${data.length} bytes`));
    else if (this.#queue.length === 1) this.#send();
    if (this.#queued > this.#limit)
      this.#end(new Error(`the other side does not read: ${this.#queued} bytes are waiting for it`));
  }

  /** Resolves when all that was written is in the kernel's hands. @throws when that will never be */
  flush(): Promise<void> {
    if (this.#writeError) return Promise.reject(this.#writeError);
    if (this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => this.#flushers.push({ resolve, reject }));
  }

  /** Reads nothing until `resume`, so that the other side has to wait. Its end is not noticed meanwhile. */
  pause(): void {
    this.#paused = true;
    this.#rewatch();
  }

  resume(): void {
    this.#paused = false;
    this.#rewatch();
  }

  /** What still waits in the queue is dropped: `flush` before it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#rewatch();
    if (this.#queue.length > 0) this.#breakWrites(new Error("the stream was closed before all was sent"));
    closeQuietly(this.#fd);
  }

  #end(error?: Error): void {
    if (this.#closed) return;
    if (error) this.#breakWrites(error);
    this.close();
    this.#handlers.onEnd(error);
  }

  #receive(hangup: boolean): void {
    receiver ??= new Receiver(READ_SIZE);
    for (let reads = 0; reads < READS && !this.#closed && !this.#paused; reads++) {
      const length = this.#tryRead(receiver);
      if (length === undefined) return;
      if (length === null) {
        // libuv has stopped watching a socket with an error; where there is none to read, it has no other end.
        if (hangup) this.#end(this.#writeError);
        return;
      }
      const wasShort = length < READ_SIZE && !hangup;
      if (length > 0 && receiver.isBare && this.#handlers.onBytes?.(receiver.bytes, length)) {
        if (wasShort) return;
        continue;
      }
      const message = receiver.take(length);
      if (message.truncated || message.data.length === 0) {
        this.#end(message.truncated ? new Error("more fds came than this process may have open") : undefined);
        return;
      }
      this.#handlers.onData(message.data, [...message.fds]);
      // A short read has drained it, but for fds: reads stop at each message that has some.
      if (wasShort && message.fds.length === 0) return;
    }
    if (hangup && !this.#closed) this.#rewatch(true);
  }

  /** Undefined: it failed, and the stream has ended. */
  #tryRead(from: Receiver): number | null | undefined {
    try {
      return from.read(this.#fd);
    } catch (error) {
      // A peer that closes without having read all is no other kind of end.
      if (errorCode(error) === "ECONNRESET" && this.#queue.length === 0) this.#end();
      else this.#end(error instanceof Error ? error : new Error(String(error)));
      return undefined;
    }
  }

  /** What is left of it, before anything is queued: mostly nothing. Why it could not be sent, `#send` finds out. */
  #sendAtOnce(data: Buffer): Buffer | undefined {
    const sent = sendCall(this.#fd, data, data.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent === data.length ? undefined : data.subarray(Math.max(0, sent));
  }

  #send(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const { data, fds } = first;
      const sent =
        fds.length === 0
          ? sendCall(this.#fd, data, data.length, MSG_NOSIGNAL | MSG_DONTWAIT)
          : sendmsg(this.#fd, data, fds, MSG_DONTWAIT);
      if (sent < 0) {
        if (failedWith("EINTR")) continue;
        if (failedWith("EAGAIN")) break;
        const error = failure("sendmsg");
        // Who does not read any more may have said something before; of anything else no end would come.
        if (failedWith("EPIPE", "ECONNRESET")) this.#breakWrites(error);
        else this.#end(error);
        break;
      }
      // The fds go with the first byte.
      closeAll(fds);
      this.#queued -= sent;
      if (sent === data.length) this.#queue.shift();
      else this.#queue[0] = { data: data.subarray(sent), fds: [] };
    }
    if (this.#queue.length === 0) for (const { resolve } of this.#flushers.splice(0)) resolve();
    this.#rewatch();
  }

  /** Nothing can be sent any more. What the other side said before it went is still read, and its end ends the stream. */
  #breakWrites(error: Error): void {
    this.#writeError ??= error;
    for (const { fds } of this.#queue.splice(0)) closeAll(fds);
    this.#queued = 0;
    for (const { reject } of this.#flushers.splice(0)) reject(this.#writeError);
  }

  /** An fd has one watch, so another interest is another watch. */
  #rewatch(anew = false): void {
    const readable = !this.#closed && !this.#paused;
    const writable = !this.#closed && this.#queue.length > 0;
    const wanted = (readable ? 1 : 0) + (writable ? 2 : 0);
    if (wanted === this.#watching && !anew) return;
    this.#watching = wanted;
    this.#unwatch?.();
    this.#unwatch = undefined;
    if (wanted === 0) return;
    this.#unwatch = watch(this.#fd, { readable, writable }, ({ readable, writable, hangup }) => {
      if (writable || hangup) this.#send();
      if (readable && !this.#closed) this.#receive(hangup);
    });
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeQuietly(fd);
}
