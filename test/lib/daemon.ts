/**
 * berthd in tests, and clients that need not keep to its protocol.
 *
 *   await using daemon = await berthd(root);                // dist/berthd in the foreground, when it serves
 *   await using daemon = await berthd(root, { env, program: ["prlimit", "--nofile=64", BERTHD] });
 *   await using wire = await connect(root);                 // to whichever daemon runs
 *   await wire.call("start", { name: "m", timeout: 1000 })  // { result }, or { error: { message, hint, kind, exitStatus } }
 *   wire.send("{no json\n"); await wire.closed;             // what the daemon does with it
 */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect as connectTo, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { errorCode } from "../../src/errors.ts";
import type { Reply, WireError } from "../../src/manager/protocol.ts";
import { type BerthRoot, poll, type Running } from "./berth.ts";

export const BERTHD = fileURLToPath(new URL("../../dist/berthd", import.meta.url));

export interface DaemonOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly program?: readonly string[];
}

export async function berthd(root: BerthRoot, { env = {}, program = [BERTHD] }: DaemonOptions = {}): Promise<Running> {
  const daemon = root.spawn(program, { env });
  try {
    await daemon.until(/ serves /);
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return daemon;
}

export function socketOf(root: BerthRoot): string {
  return join(root.path, "run/berthd.sock");
}

/** Resolves when nobody serves any more. */
export async function daemonGone(root: BerthRoot): Promise<void> {
  await poll("the end of the daemon", () => (root.daemonPid() === undefined ? true : undefined));
}

/** kill -9, to the end of it. Returns its pid. */
export async function killDaemon(root: BerthRoot): Promise<number> {
  const pid = root.daemonPid();
  if (pid === undefined) throw new Error("no daemon runs");
  process.kill(pid, "SIGKILL");
  await daemonGone(root);
  return pid;
}

export type Answer = { readonly result: unknown } | { readonly error: WireError };

export async function connect(root: BerthRoot): Promise<Wire> {
  await poll("berthd.sock", () => (existsSync(socketOf(root)) ? true : undefined));
  for (let tries = 0; ; tries++) {
    const socket = connectTo(socketOf(root));
    try {
      await once(socket, "connect");
      return new Wire(socket);
    } catch (error) {
      // It has its name before anybody listens.
      if (errorCode(error) !== "ECONNREFUSED" || tries === 200) throw error;
      await sleep(5);
    }
  }
}

export class Wire {
  readonly socket: Socket;
  /** Resolves when the daemon has closed the connection. */
  readonly closed: Promise<void>;
  readonly replies: Reply[] = [];
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #id = 0;
  #rest = "";

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.on("error", () => undefined); // EPIPE, when we are dropped
    socket.on("data", (chunk: Buffer) => this.#take(chunk.toString("utf8")));
  }

  send(data: string | Buffer): void {
    this.socket.write(data);
  }

  /** Does not wait for the answer; returns the request's id. */
  ask(method: string, params: object = {}): number {
    this.send(`${JSON.stringify({ id: ++this.#id, method, params })}\n`);
    return this.#id;
  }

  /** The answer; undefined: the connection has ended before. */
  async answer(id: number): Promise<Answer | undefined> {
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    const before = this.replies.find((reply) => reply.id === id && !("event" in reply));
    if (before !== undefined) return before as Answer;
    return Promise.race([answered, this.closed.then(() => undefined)]);
  }

  call(method: string, params: object = {}): Promise<Answer | undefined> {
    return this.answer(this.ask(method, params));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const reply of lines.map((line) => JSON.parse(line) as Reply)) {
      this.replies.push(reply);
      if (!("event" in reply)) this.#waiting.get(reply.id)?.(reply);
    }
  }
}
