import { existsSync, openSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import {
  ATTACHED,
  BUSY,
  EXITED,
  FIRST_GREETING_BIT,
  GREETING_FDS,
  KEEPER_VERSION,
  SAID_READY,
  SAID_STOPPING,
} from "../stage/stage-abi.ts";
import { type StageMessage, StageSocket } from "../stage/stage-socket.ts";
import { monotonic } from "../sys/clock.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { readableWithin, whenReadable } from "../sys/poll.ts";
import { type ExitStatus, exitStatus, pidOf, reapOrphan } from "../sys/processes.ts";
import { connectedSocket } from "../sys/sockets.ts";
import { readExitRecord } from "./exit-record.ts";
import { FdTable } from "./fd-table.ts";
import { readLeftovers, removeLeftovers } from "./leftovers.ts";
import { unlinkLocked } from "./lock-file.ts";
import type { OnRelease, RunningBoot } from "./running.ts";

export interface AttachOptions {
  /** For messages. */
  readonly name: string;
  readonly onRelease?: OnRelease | undefined;
  /** ms for the keeper to answer, and for a supervisor that is just ending to be gone. */
  readonly patience?: number;
}

const PATIENCE_MS = 2000;
const PAUSE_MS = 20;
/** That a keeper has for an answer at least, also at the end of all patience: one that says "busy" is not silent. */
const ANSWER_MS = 500;

/**
 * Becomes the supervisor of a machine in the background whose own has gone, by the rendezvous in its record directory.
 * Null: there is no keeper any more. The exit record says how the machine ended, and what is left of it is to be swept.
 * @throws BerthError when it is somebody else's, or its keeper does not answer or is of another version of berth
 */
export async function attach(directory: string, options: AttachOptions): Promise<Attachment | null> {
  const deadline = monotonic() + (options.patience ?? PATIENCE_MS);
  for (;;) {
    const answer = await ask(directory, deadline, options.name);
    if (answer === null) return null;
    if (answer.greeting !== "busy") return accept(directory, answer.socket, answer.greeting, options);
    answer.socket.close();
    if (monotonic() > deadline)
      throw new BerthError(`machine ${options.name} is supervised by another process`, { kind: "Busy" });
    await sleep(PAUSE_MS);
  }
}

/** Where the keeper of a machine in the background is to be found, by its record directory. */
export function rendezvous(directory: string): string {
  return join(directory, "keeper");
}

interface Answer {
  readonly socket: StageSocket;
  readonly greeting: StageMessage | "busy";
}

/** One question at the rendezvous. Null: nobody is there who could answer. */
async function ask(directory: string, deadline: number, name: string): Promise<Answer | null> {
  const fd = connect(directory, name);
  if (fd === null) return null;
  const socket = new StageSocket(fd);
  try {
    if (!(await readableWithin(fd, Math.max(ANSWER_MS, deadline - monotonic()))))
      throw new BerthError(`the keeper of machine ${name} does not answer`, {
        hint: "a keeper that is stopped or frozen does not; nor does one whose machine is only being started",
        kind: "Timeout",
      });
    const greeting = await socket.hear();
    if (greeting !== null) return { socket, greeting: greeting.who === BUSY ? "busy" : greeting };
    socket.close(); // it has just ended
    return null;
  } catch (error) {
    socket.close();
    throw error;
  }
}

function connect(directory: string, name: string): number | null {
  const place = openDirectory(directory);
  if (place === null) return null;
  try {
    // Through the directory's fd: a socket's path may have 107 bytes only.
    return connectedSocket(rendezvous(`/proc/self/fd/${place}`));
  } catch (error) {
    const code = errorCode(error);
    if (code === "ECONNREFUSED") return null;
    if (code === "ENOENT" && existsSync(directory))
      throw new BerthError(`machine ${name} can't be taken over: it ends with the process that runs it`, {
        kind: "NotSupported",
      });
    if (code === "EAGAIN")
      throw new BerthError(`the keeper of machine ${name} does not answer, and others wait for it`, {
        kind: "Timeout",
      });
    throw error;
  } finally {
    closeQuietly(place);
  }
}

function openDirectory(path: string): number | null {
  try {
    return openSync(path, O_DIRECTORY);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * What the keeper's answer amounts to; takes over its socket and fds. One that is not understood is left alone: that we
 * hang up is all it notices.
 */
export async function accept(
  directory: string,
  socket: StageSocket,
  greeting: StageMessage,
  options: AttachOptions,
): Promise<Attachment | null> {
  const { who, value: version, result: bits, fds: given } = greeting;
  const fds = new FdTable();
  const names = GREETING_FDS.filter((_, index) => bits & (1 << (FIRST_GREETING_BIT + index)));
  names.forEach((name, index) => {
    const fd = given[index];
    if (fd !== undefined) fds.name(name, fd);
  });
  const isComplete = given.length === names.length && ["leader", "keeper", "record"].every((name) => fds.has(name));
  const close = (): void => {
    fds.closeAllBut(() => false);
    for (const fd of given.slice(names.length)) closeQuietly(fd);
    socket.close();
  };
  if (who === ATTACHED && version === KEEPER_VERSION && isComplete) {
    const [leaderPid, keeperPid] = [pidOf(fds.get("leader")), pidOf(fds.get("keeper"))];
    if (leaderPid !== null && keeperPid !== null)
      return new Attachment({ directory, socket, fds, bits, leaderPid, keeperPid, onRelease: options.onRelease });
    await whenReadable(fds.get("keeper")); // it has just ended
    close();
    return null;
  }
  close();
  throw new BerthError(
    who === ATTACHED && version !== KEEPER_VERSION
      ? `the keeper of machine ${options.name} is of version ${version}, and this berth knows version ${KEEPER_VERSION}`
      : `the keeper of machine ${options.name} says what this berth does not understand`,
    { hint: "the machine goes on; the berth that started it can stop it", kind: "NotSupported" },
  );
}

interface Parts {
  readonly directory: string;
  readonly socket: StageSocket;
  readonly fds: FdTable;
  readonly bits: number;
  readonly leaderPid: number;
  readonly keeperPid: number;
  readonly onRelease: OnRelease | undefined;
}

/** A boot that another process has launched, and that this one supervises now. */
export class Attachment implements RunningBoot {
  readonly fds: FdTable;
  readonly leaderPid: number;
  readonly keeperPid: number;
  /** What init has said of itself while nobody supervised the machine. */
  readonly saidReady: boolean;
  readonly saidStopping: boolean;
  readonly #directory: string;
  readonly #socket: StageSocket;
  readonly #onRelease: OnRelease | undefined;
  #exit: Promise<ExitStatus | null> | undefined;

  constructor({ directory, socket, fds, bits, leaderPid, keeperPid, onRelease }: Parts) {
    this.#directory = directory;
    this.#socket = socket;
    this.#onRelease = onRelease;
    this.fds = fds;
    this.leaderPid = leaderPid;
    this.keeperPid = keeperPid;
    this.saidReady = (bits & SAID_READY) !== 0;
    this.saidStopping = (bits & SAID_STOPPING) !== 0;
  }

  exit(): Promise<ExitStatus | null> {
    this.#exit ??= this.#hearExit();
    return this.#exit;
  }

  async #hearExit(): Promise<ExitStatus | null> {
    const message = await this.#socket.hear();
    if (message?.who === EXITED) return exitStatus(message.value, message.result);
    return readExitRecord(this.fds.get("record"));
  }

  async keeperEnd(): Promise<void> {
    await whenReadable(this.fds.get("keeper"));
    reapOrphan(this.fds.get("keeper"));
  }

  /** Lets go of a machine that runs on, for the next supervisor: `exit` ends with null. */
  async detach(): Promise<void> {
    this.#socket.endTelling();
    await this.exit();
    this.#close();
  }

  /** Of the host's steps the record directory knows; what the keeper did it has undone itself. */
  release(_failed = false, rebooting = false): void {
    try {
      const name = readLeftovers(this.#directory).find(({ kind }) => kind === "lock-name");
      removeLeftovers(this.#directory, { onRelease: this.#onRelease, rebooting });
      // Until here the name was taken: by the lock that the keeper had, of which this is another fd.
      if (name?.kind === "lock-name" && this.fds.has("name-lock"))
        unlinkLocked(name.args.path, this.fds.take("name-lock"));
      reapOrphan(this.fds.get("leader"));
    } finally {
      this.#close();
    }
  }

  #close(): void {
    this.#socket.close();
    this.fds.closeAllBut(() => false);
  }
}
