import { BerthError } from "../errors.ts";
import { RLIMIT_NAMES } from "../plan/facts.ts";
import type { Limit, Namespace } from "../plan/step.ts";
import { SOCK_SEQPACKET } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly, duplicate, openNull, sealedExecutable } from "../sys/files.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdOpen, reapPidfd } from "../sys/processes.ts";
import { send, sendWithFds, socketPair } from "../sys/sockets.ts";
import { spawnAside, spawnProcess } from "../sys/spawn.ts";
import { namespaceFlags } from "./namespace-flags.ts";
import { AHEAD, AHEAD_LIMITS, FIRST_FD, HOLDS, MAGIC, STATUS_FD, TITLE_SIZE } from "./stage-abi.ts";
import { type StageMessage, StageSocket } from "./stage-socket.ts";

/** SCM_MAX_FD of the kernel. */
const FDS_PER_MESSAGE = 253;

const RLIM_INFINITY = 0xffffffffffffffffn;

/** Namespaces that somebody with these limits makes. What a user namespace may have in all is what its maker had. */
export interface Ahead {
  readonly namespaces: readonly Namespace[];
  readonly limits: readonly Limit[];
}

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
  #ahead: Ahead | undefined;
  #holder: number | undefined;

  private constructor(pid: number, socket: number) {
    this.pid = pid;
    try {
      this.pidfd = pidfdOpen(pid);
    } catch (error) {
      closeQuietly(socket); // with which it ends
      throw error;
    }
    this.#fd = socket;
    this.socket = new StageSocket(socket);
  }

  /** `path`: the stage's executable for this architecture. */
  static spawn(path: string): StageProcess {
    using ends = makeEnds();
    return new StageProcess(spawnProcess(executableOf(path), TITLE, ends.fds), ends.take());
  }

  /** The same by another thread, for who has others to see to meanwhile. */
  static async spawnAside(path: string): Promise<StageProcess> {
    using ends = makeEnds();
    return new StageProcess(await spawnAside(executableOf(path), TITLE, ends.fds), ends.take());
  }

  /** What it was asked to make while it waits. */
  get ahead(): Ahead | undefined {
    return this.#ahead;
  }

  /** Asks it to make them. A process holds them until the stage has taken over its program. */
  makeAhead(ahead: Ahead): void {
    const request = Buffer.alloc(24 + AHEAD_LIMITS * 24);
    const words = ahead.limits.flatMap(({ name, soft, hard }) => [
      BigInt(RLIMIT_NAMES.indexOf(name)),
      ...[soft, hard].map((limit) => (limit === null ? RLIM_INFINITY : BigInt(limit))),
    ]);
    [AHEAD, BigInt(namespaceFlags(ahead.namespaces)), BigInt(ahead.limits.length), ...words].forEach((word, index) => {
      request.writeBigUInt64LE(word, index * 8);
    });
    send(this.#fd, request);
    this.#ahead = ahead;
  }

  /**
   * Who holds the namespaces: a child of the stage, which does not reap it before it has taken over its program.
   * @throws SysError where the kernel refuses them
   */
  async holder(): Promise<number> {
    this.#holder ??= await this.#askHolder();
    return this.#holder;
  }

  async #askHolder(): Promise<number> {
    let answer = await this.#answer();
    // They may have been asked for long ago.
    if (answer.value < 0 && this.#ahead !== undefined) {
      this.makeAhead(this.#ahead);
      answer = await this.#answer();
    }
    if (answer.value < 0) throw new SysError("clone3", -answer.result);
    return answer.value;
  }

  async #answer(): Promise<StageMessage> {
    const message = await this.socket.hearSync(HOLDS);
    if (message === null) throw new BerthError("the stage was killed before it had made the machine's namespaces");
    return message;
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

const TITLE = ["berth-stage".padEnd(TITLE_SIZE - 1)];

interface Ends extends Disposable {
  /** Of the child: see spawnProcess. */
  readonly fds: readonly (readonly [number, number])[];
  /** Ours, which is the taker's, when the child has the others: so there is room for a pidfd of it. */
  take(): number;
}

/** A socket for a stage, and what else it begins with. */
function makeEnds(): Ends {
  using opening = new DisposableStack();
  const own = (fd: number): number => opening.adopt(fd, closeQuietly);
  const [ours, theirs] = socketPair(SOCK_SEQPACKET);
  const [kept, given] = [opening.adopt({ fd: ours }, ({ fd }) => closeQuietly(fd)), own(theirs)];
  const nothing = own(openNull());
  const status = given === STATUS_FD ? own(duplicate(given, FIRST_FD)) : given;
  const opened = opening.move();
  return {
    fds: [...[0, 1, 2].map((target) => [nothing, target] as const), [status, STATUS_FD]],
    take: () => {
      kept.fd = -1;
      opened.dispose();
      return ours;
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}
