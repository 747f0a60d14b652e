import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { MSG_DONTWAIT, MSG_NOSIGNAL } from "./constants.ts";
import { closeQuietly, duplicate } from "./files.ts";
import { bind, check, failedWith } from "./libc.ts";
import { isTerminal } from "./terminal.ts";

const sendCall = bind("long send(int fd, void *data, size_t length, int flags)");

/** An fd of our own to write to what another fd shows, where a write never waits. */
export interface SteadyFd {
  readonly fd: number;
  /** Bytes taken; 0: none now, watch `fd` until it is writable. @throws what write(2) or send(2) says, such as EPIPE */
  write(chunk: Buffer): number;
  close(): void;
}

/**
 * O_NONBLOCK belongs to the open file, which every process that inherited it shares and few expect: pipes and terminals
 * are opened once more for it, sockets take the wish with each call. A file on a disk is always writable.
 */
export function openSteady(fd: number): SteadyFd {
  const stats = fstatSync(fd);
  const own = (stats.isFIFO() || isTerminal(fd) ? openAgain(fd) : undefined) ?? duplicate(fd);
  return {
    fd: own,
    write: (chunk) => (stats.isSocket() ? sendSome(own, chunk) : writeSome(own, chunk)),
    close: () => closeQuietly(own),
  };
}

/** Undefined: it is a pipe that nobody reads or a terminal that was hung up, and a write will say so. */
function openAgain(fd: number): number | undefined {
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    return undefined;
  }
}

function writeSome(fd: number, chunk: Buffer): number {
  try {
    return writeSync(fd, chunk);
  } catch (error) {
    if (errorCode(error) === "EAGAIN") return 0;
    throw error;
  }
}

function sendSome(fd: number, chunk: Buffer): number {
  const sent = sendCall(fd, chunk, chunk.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 && failedWith("EAGAIN", "EINTR") ? 0 : check(sent, "send");
}
