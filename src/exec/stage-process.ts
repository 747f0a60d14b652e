import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { closeQuietly, duplicate, openNull, sealedExecutable } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, reapPidfd } from "../sys/processes.ts";
import { sendWithFds, socketPair } from "../sys/sockets.ts";
import { spawnProcess } from "../sys/spawn.ts";
import { FIRST_FD, MAGIC, STATUS_FD, TITLE_SIZE } from "./stage-abi.ts";
import { StageSocket } from "./stage-socket.ts";

/** SCM_MAX_FD of the kernel. */
const FDS_PER_MESSAGE = 253;

/** By path: what a stage is executed from. Made once, for the life of this process. */
const executables = new Map<string, string>();

/**
 * A sealed copy, so that a machine which gets hold of a stage on its way in (a script whose interpreter is
 * /proc/self/exe is enough) has no file of the host; or that file itself, where the host allows no such copy.
 */
function executableOf(path: string): string {
  let executable = executables.get(path);
  if (executable === undefined) {
    const fd = sealedExecutable(path, "berth-stage");
    executable = fd === null ? path : `/proc/self/fd/${above(STATUS_FD, fd)}`;
    executables.set(path, executable);
  }
  return executable;
}

/** The same open file with a number that is none of those the stage begins with. */
function above(last: number, fd: number): number {
  if (fd > last) return fd;
  const moved = duplicate(fd, last + 1);
  closeQuietly(fd);
  return moved;
}

/**
 * A stage that has been spawned and waits for its program: spawned early it is there when it is needed. It ends by
 * itself when its socket is closed before anything was handed over.
 */
export class StageProcess {
  readonly pid: number;
  readonly pidfd: number;
  readonly socket: StageSocket;
  readonly #fd: number;

  /** `path`: the stage's executable for this architecture. */
  constructor(path: string) {
    const [ours, theirs] = socketPair(SOCK_SEQPACKET);
    const nothing = openNull();
    const status = theirs === STATUS_FD ? duplicate(theirs, FIRST_FD) : theirs;
    try {
      const stdio = [0, 1, 2].map((target) => [nothing, target] as const);
      this.pid = spawnProcess(
        executableOf(path),
        ["berth-stage".padEnd(TITLE_SIZE - 1)],
        [...stdio, [status, STATUS_FD]],
      );
      this.pidfd = pidfdOpen(this.pid);
    } catch (error) {
      closeQuietly(ours);
      throw error;
    } finally {
      for (const fd of new Set([theirs, status, nothing])) closeQuietly(fd);
    }
    this.#fd = ours;
    this.socket = new StageSocket(ours);
  }

  /** Hands over fds, which have the numbers from FIRST_FD on there: the image first, then what it works on. */
  handOver(title: string, fds: readonly number[]): void {
    const message = Buffer.alloc(16 + TITLE_SIZE);
    message.writeBigUInt64LE(MAGIC, 0);
    message.writeBigUInt64LE(BigInt(fds.length), 8);
    message.write(title.slice(0, TITLE_SIZE - 1), 16);
    for (let at = 0; at < fds.length; at += FDS_PER_MESSAGE)
      sendWithFds(this.#fd, message, fds.slice(at, at + FDS_PER_MESSAGE));
  }

  /** One that is not needed. */
  async discard(): Promise<void> {
    this.socket.close();
    await whenReadable(this.pidfd);
    reapPidfd(this.pidfd);
    closeQuietly(this.pidfd);
  }
}
