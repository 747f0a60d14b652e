import { writeSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { closeQuietly } from "./files.ts";
import koffi from "./koffi.ts";
import { bind, check, failedWith, pinned } from "./libc.ts";
import { pipe } from "./sockets.ts";

const SELF_TEST_MS = 5000;

export interface Ready {
  readonly readable: boolean;
  readonly writable: boolean;
  /** The other side closed; a pidfd's process has exited shows as readable. */
  readonly hangup: boolean;
}

/** Stops watching. Must be called before the fd is closed, or another fd with that number is watched. */
export type Unwatch = () => void;

const pollCall = bind("int poll(void *fds, ulong count, int timeout)");
const POLLIN = 1;
const POLLPRI = 2;

/** Whether something exceptional has happened to an fd since the last time, as poll(2) tells of some files in /proc. */
export function hasException(fd: number): boolean {
  return pollNow(fd, POLLPRI);
}

/** Whether there is something to read, or an end of file, without waiting: for work that leaves the event loop no turn. */
export function isReadable(fd: number): boolean {
  return pollNow(fd, POLLIN);
}

const polled = pinned(8);

function pollNow(fd: number, events: number): boolean {
  polled.writeInt32LE(fd, 0);
  polled.writeInt32LE(events, 4); // and no revents
  for (;;) {
    const result = pollCall(polled, 1, 0);
    // Of a child that ended just now, say: signal(7), poll is never restarted.
    if (result >= 0 || !failedWith("EINTR")) return check(result, "poll", { subject: `fd ${fd}` }) === 1;
  }
}

/** koffi collects a handle nobody refers to, and the watch silently stops: so all that are active stay here. */
const active = new Set<object>();
/** libuv aborts the process when an fd is watched twice. */
const watched = new Set<number>();

interface PollHandle {
  close(): void;
  unref(): void;
}
type Poll = (
  fd: number,
  options: { readable?: boolean; writable?: boolean; disconnect?: boolean },
  callback: (status: number, events: { readable: boolean; writable: boolean; disconnect: boolean }) => void,
) => PollHandle;

/**
 * Calls back whenever `fd` is ready, from Node's own event loop (uv_poll through koffi.node.poll, which is not
 * documented yet: the version is pinned and `selfTest` proves it). Level triggered: a callback that does not drain
 * the fd is called again at once.
 */
export function watch(
  fd: number,
  interest: { readable?: boolean; writable?: boolean },
  onReady: (ready: Ready) => void,
): Unwatch {
  if (watched.has(fd)) throw new Error(`fd ${fd} is watched already`);
  // index.d.ts says the callback gets (events), the code calls (status, events).
  const poll = koffi.node.poll as unknown as Poll;
  const handle = poll(fd, { ...interest, disconnect: false }, (status, events) => {
    try {
      onReady({
        readable: status < 0 || events.readable,
        writable: status < 0 || events.writable,
        hangup: status < 0,
      });
    } catch (error) {
      // koffi keeps it pending, and V8 then ends the process in the middle of a garbage collection, without a word.
      setImmediate(() => {
        throw error;
      });
    }
  });
  active.add(handle);
  watched.add(fd);
  return () => {
    if (!active.delete(handle)) return;
    watched.delete(fd);
    handle.close();
  };
}

/** Resolves when `fd` is readable, once. For a pidfd: when its process has exited. */
export function whenReadable(fd: number): Promise<void> {
  return new Promise((resolve) => {
    const unwatch = watch(fd, { readable: true }, () => {
      unwatch();
      resolve();
    });
  });
}

/** The same for at most so long. False: it was not readable. */
export function readableWithin(fd: number, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (readable: boolean): void => {
      clearTimeout(timer);
      unwatch();
      resolve(readable);
    };
    const unwatch = watch(fd, { readable: true }, () => end(true)); // throws, maybe: before there is a timer
    // Node's timers come before what it polls: after a pause of this process both are due.
    const timer = setTimeout(() => setImmediate(end, false), ms);
  });
}

/** Proves on a pipe that the undocumented API still behaves as this module takes for granted. @throws BerthError */
export async function selfTest(): Promise<void> {
  const [readEnd, writeEnd] = pipe();
  try {
    const ready = whenReadable(readEnd);
    writeSync(writeEnd, "x");
    const late = new Promise<"late">((resolve) => setTimeout(resolve, SELF_TEST_MS, "late").unref());
    if ((await Promise.race([ready, late])) === "late")
      throw new BerthError("koffi.node.poll does not report a pipe that can be read", {
        hint: "its version is pinned in package-lock.json: run npm ci",
      });
  } finally {
    closeQuietly(readEnd);
    closeQuietly(writeEnd);
  }
}
