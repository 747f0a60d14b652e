import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { closeQuietly, duplicate, openNull } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, reapPidfd } from "../sys/processes.ts";
import { sendWithFds, socketPair } from "../sys/sockets.ts";
import { spawnProcess } from "../sys/spawn.ts";
import { FIRST_FD, MAGIC, STATUS_FD, TITLE_SIZE } from "./stage-abi.ts";
import { StageSocket } from "./stage-socket.ts";

/** SCM_MAX_FD of the kernel. */
const FDS_PER_MESSAGE = 253;

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
      this.pid = spawnProcess(path, ["berth-stage".padEnd(TITLE_SIZE - 1)], [...stdio, [status, STATUS_FD]]);
      this.pidfd = pidfdOpen(this.pid);
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
