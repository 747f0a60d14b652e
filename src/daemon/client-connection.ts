import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode, firstError, isSystemError } from "../errors.ts";
import { OneATurn } from "../manager/one-a-turn.ts";
import type { Hint, Places, Reply, Request, WireError } from "../manager/protocol.ts";
import { DaemonEnds } from "../manager/when-ready.ts";
import { isObject } from "../spec/is-object.ts";
import { printable } from "../spec/quote.ts";
import { monotonic } from "../sys/clock.ts";
import { closeQuietly } from "../sys/files.ts";
import { pidfdGetfd, pidfdOpen } from "../sys/processes.ts";
import type { Credentials } from "../sys/socket-message.ts";
import { FdStream, peerPidfd } from "../sys/unix-stream.ts";
import type { Logger } from "./log.ts";
import { type Call, type Daemon, findMethod } from "./methods.ts";
import { inOperation } from "./operation.ts";
import { refuseOtherPlaces } from "./places.ts";

/** What a client may make the daemon hold. */
interface Limits {
  /** Bytes. */
  readonly line: number;
  /** At a time. */
  readonly requests: number;
  /** Bytes of answers that it does not read. */
  readonly unread: number;
}

/** A command may be as long as the kernel lets one be (execve(2), 2 MiB by default). */
const ROOT: Limits = { line: 4 << 20, requests: 256, unread: 64 << 20 };
/** Of any other user of the host, who may be up to no good. */
const OTHERS: Limits = { line: 16 << 10, requests: 8, unread: 4 << 20 };
/** What those ask for. */
const others = new OneATurn();
/** What root asks for at once is read for so long before everybody else gets their turn, ms. */
const READ_MS = 3;
const roots = new OneATurn(READ_MS);
const FDS_MAX = 3;
/** For what it asked for to end when the daemon does; what takes longer goes on without it, and the next one sees to that. */
const GIVE_UP_MS = 2000;
/** For a client to read its answers when the daemon ends. */
const FLUSH_MS = 500;

interface Running {
  readonly end: AbortController;
  readonly cancel: AbortController;
  cancelIfGone: boolean;
  onSignal: (signal: number) => void;
}

/** One client, from its connection to its end: what it asks for, and the answers. */
export class ClientConnection {
  readonly #daemon: Daemon;
  readonly #log: Logger;
  readonly #stream: FdStream;
  readonly #peer: Credentials;
  readonly #limits: Limits;
  readonly #pidfd: number | null;
  readonly #running = new Map<number, Running>();
  readonly #onEnd: () => void;
  readonly #work = new Set<Promise<void>>();
  #fds: number[] = [];
  #pending: Buffer[] = [];
  #length = 0;
  #ending: DaemonEnds | undefined;
  #over = false;

  /** Takes over the fd. */
  constructor(fd: number, peer: Credentials, daemon: Daemon, log: Logger, onEnd: () => void) {
    this.#daemon = daemon;
    this.#log = log;
    this.#onEnd = onEnd;
    this.#peer = peer;
    this.#limits = this.#isRoot ? ROOT : OTHERS;
    this.#pidfd = this.#isRoot ? peerPidfd(fd) : null;
    const onData = (chunk: Buffer, fds: readonly number[]): void => this.#take(chunk, fds);
    this.#stream = new FdStream(fd, { onData, onEnd: () => this.#end() }, { queueLimit: this.#limits.unread });
  }

  get uid(): number {
    return this.#peer.uid;
  }

  get #isRoot(): boolean {
    return this.#peer.uid === 0;
  }

  /** What it asked for is given up, and it hears so. */
  async giveUp(): Promise<void> {
    const ending = new DaemonEnds();
    this.#ending = ending;
    for (const { end, cancel } of this.#running.values()) for (const each of [cancel, end]) each.abort(ending);
    const late = sleep(GIVE_UP_MS, undefined, { ref: false });
    await Promise.race([Promise.allSettled(this.#work), late]);
    for (const id of this.#running.keys()) this.#answered(id, { error: wireError(ending, this.#log, "info") });
  }

  /** When it has its answers; one that does not read them is not waited for. */
  async close(): Promise<void> {
    const late = sleep(FLUSH_MS, undefined, { ref: false });
    if (!this.#over) await Promise.race([this.#stream.flush().catch(() => undefined), late]);
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.close();
    const gone = new BerthError("the client has gone");
    for (const { end, cancel, cancelIfGone } of this.#running.values()) {
      if (cancelIfGone) cancel.abort(gone);
      end.abort(gone);
    }
    for (const fd of this.#fds.splice(0)) closeQuietly(fd);
    if (this.#pidfd !== null) closeQuietly(this.#pidfd);
    this.#onEnd();
  }

  #take(chunk: Buffer, fds: readonly number[]): void {
    this.#fds.push(...fds);
    // Nobody sends more than one request needs before that is read.
    if (this.#fds.length > FDS_MAX) {
      this.#drop("too many fds");
      return;
    }
    const rest = this.#isRoot ? this.#readLines(chunk) : chunk;
    if (rest !== null && !this.#over) void this.#readInTurns(rest);
  }

  /** So that however much is asked for at once, everybody else gets their turn. */
  async #readInTurns(chunk: Buffer): Promise<void> {
    this.#stream.pause();
    for (let rest: Buffer | null = chunk; rest !== null && !this.#over; ) {
      await (this.#isRoot ? roots : others).turn();
      rest = this.#isRoot ? this.#readLines(rest) : this.#readLine(rest);
    }
    if (!this.#over) this.#stream.resume();
  }

  /** As many as begin in time. Returns what is after them. */
  #readLines(chunk: Buffer): Buffer | null {
    const began = monotonic();
    let rest: Buffer | null = chunk;
    do rest = this.#readLine(rest);
    while (rest !== null && !this.#over && monotonic() - began < READ_MS);
    return rest;
  }

  /** Returns what is after it; null: the line is still to be ended. */
  #readLine(chunk: Buffer): Buffer | null {
    const end = chunk.indexOf(10);
    this.#length += end < 0 ? chunk.length : end;
    this.#pending.push(end < 0 ? chunk : chunk.subarray(0, end));
    if (this.#length > this.#limits.line) {
      this.#drop("a line that is too long");
      return null;
    }
    if (end < 0) return null;
    const line = Buffer.concat(this.#pending).toString("utf8");
    [this.#pending, this.#length] = [[], 0];
    this.#read(line);
    return chunk.subarray(end + 1);
  }

  /** Who does not keep to the protocol is no client of ours. */
  #drop(why: string): void {
    // Nobody but root gets to fill the log.
    const level = this.#isRoot ? "warn" : "debug";
    this.#log[level](`a client, pid ${this.#peer.pid} of user ${this.#peer.uid}, was dropped: ${why}`);
    this.#end();
  }

  #read(line: string): void {
    const message = parse(line);
    if (message === undefined) this.#drop("no request");
    else if ("method" in message) this.#begin(message);
    else this.#hint(message);
  }

  #begin(request: Request): void {
    if (this.#running.has(request.id) || this.#running.size >= this.#limits.requests) {
      this.#drop("too many requests");
      return;
    }
    const work = inOperation(request.method, () => this.#answer(request));
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
    // They were for this request, which has not taken them.
    for (const fd of this.#fds.splice(0)) closeQuietly(fd);
  }

  /** About a request that has just been answered it may come too late. */
  #hint({ id, signal, cancel, cancelIfGone }: Hint): void {
    const running = this.#running.get(id);
    if (signal !== undefined) running?.onSignal(signal);
    if (cancelIfGone !== undefined && running !== undefined) running.cancelIfGone = cancelIfGone;
    if (cancel !== true) return;
    const cancelled = new BerthError("it was cancelled");
    running?.cancel.abort(cancelled);
    running?.end.abort(cancelled);
  }

  async #answer(request: Request): Promise<void> {
    const { id, method, params, places } = request;
    const log = this.#log.child(machineOf(params));
    const [end, cancel] = [new AbortController(), new AbortController()];
    const running: Running = { end, cancel, cancelIfGone: false, onSignal: () => undefined };
    this.#running.set(id, running);
    try {
      if (this.#ending !== undefined) throw this.#ending;
      const { for: whom, run } = findMethod(method);
      if (whom === "root" && !this.#isRoot) throw forRoot(method);
      refuseOtherPlaces(method, places, this.#daemon.paths);
      if (whom === "root") log.debug(`asked by pid ${this.#peer.pid}`);
      const call: Call = {
        params,
        reader: this.#isRoot ? "root" : "all",
        signal: running.end.signal,
        cancelled: running.cancel.signal,
        event: (event) => this.#send({ id, event }),
        onSignal: (handler) => {
          running.onSignal = handler;
        },
        takeStdio: (which) => (which === "sent" ? this.#fds.splice(0) : this.#ownStdio()),
      };
      this.#answered(id, { result: await run(this.#daemon, call) });
    } catch (error) {
      this.#answered(id, { error: wireError(error, log, this.#isRoot ? "info" : "debug") });
    }
  }

  /** Once: the end of the daemon may have been the answer. */
  #answered(id: number, answer: { readonly result: unknown } | { readonly error: WireError }): void {
    if (this.#running.delete(id)) this.#send({ id, ...answer });
  }

  /** 0 to 2 of the client's process, which waits: without its having to send them, for which Node has no way. */
  #ownStdio(): readonly number[] {
    const pidfd = this.#pidfd ?? pidfdOpen(this.#peer.pid);
    const taken: number[] = [];
    try {
      for (const fd of [0, 1, 2]) taken.push(takeFd(pidfd, fd));
      // As long as the connection is there, so is who made it: the pid is no other's.
      if (this.#over) throw new BerthError("the client has gone");
      return taken;
    } catch (error) {
      for (const fd of taken) closeQuietly(fd);
      throw error;
    } finally {
      if (this.#pidfd === null) closeQuietly(pidfd);
    }
  }

  #send(reply: Reply): void {
    if (!this.#over) this.#stream.write(Buffer.from(`${JSON.stringify(reply)}\n`));
  }
}

/** @throws BerthError of kind NotSupported where the kernel gives no fds away, so that the client goes another way */
function takeFd(pidfd: number, fd: number): number {
  try {
    return pidfdGetfd(pidfd, fd);
  } catch (error) {
    if (errorCode(error) !== "EPERM") throw error;
    throw new BerthError(`stdio can't be taken from the client: ${(error as Error).message}`, {
      kind: "NotSupported",
      hint: "kernel.yama.ptrace_scope=3 forbids it",
    });
  }
}

function parse(line: string): Request | Hint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(value) || !Number.isSafeInteger(value["id"])) return undefined;
  const id = Number(value["id"]);
  const { method, params, places, signal, cancel, cancelIfGone } = value;
  if (typeof method === "string")
    return { id, method, params: isObject(params) ? params : {}, places: placesIn(places) };
  if (cancel === true) return { id, cancel };
  if (typeof cancelIfGone === "boolean") return { id, cancelIfGone };
  return Number.isInteger(signal) && Number(signal) > 0 && Number(signal) <= 64
    ? { id, signal: Number(signal) }
    : undefined;
}

function placesIn(value: unknown): Places | undefined {
  if (!isObject(value)) return undefined;
  const { etc, machines } = value;
  return typeof etc === "string" && typeof machines === "string" ? { etc, machines } : undefined;
}

function machineOf({ name }: Request["params"]): { readonly machine?: string } {
  return typeof name === "string" ? { machine: printable(name) } : {};
}

function forRoot(method: string): BerthError {
  return new BerthError(`${method} is for root only`, { kind: "AccessDenied", hint: "run this as root" });
}

/** One sentence, never where in the daemon it happened: that is for its log. */
function wireError(thrown: unknown, log: Logger, level: "info" | "debug"): WireError {
  const error = firstError(thrown);
  if (error instanceof BerthError) {
    log[level](error.message);
    const { message, hint = null, kind = null, exitStatus } = error;
    return { message, hint, kind, exitStatus };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (isSystemError(error)) {
    log.error({ stack: error.stack }, message);
    return { message, hint: null, kind: null, exitStatus: 1 };
  }
  log.error({ stack: error instanceof Error ? error.stack : undefined }, `internal error: ${message}`);
  return { message: `internal error of berthd: ${message}`, hint: null, kind: null, exitStatus: 1 };
}
