import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, receiveMessageOnPort, Worker, workerData } from "node:worker_threads";
import { BerthError, errorCode } from "../../errors.ts";
import { clientProgram } from "../../host/installation.ts";
import { visible } from "../../spec/quote.ts";
import { monotonic } from "../../sys/clock.ts";
import { O_RDONLY } from "../../sys/constants.ts";
import { O_DIRECTORY } from "../../sys/files.ts";
import { helpLooking, type SharedRows } from "../../sys/stat-table.ts";
import { openFileSystem, type SyncedFileSystem } from "../../sys/sync-fs.ts";
import { Follower, TooLarge } from "./follower.ts";
import { FOLLOWER_VERB, type FollowerMessage, type FollowOrder, type FollowRequest } from "./protocol.ts";

/** Threads that look at names; more of them wait for each other. */
const THREADS_MAX = 4;
/** Of the fds that a process may have, as many are for directories. */
const SHARE = 0.75;

/**
 * The process that makes the copy of a running machine's tree follow it. It goes through no link, by fds, and so needs no view of its
 * own. Its one turn while the machine stands still is short as it has all open that it needs, and nothing to load any more.
 */
export async function runFollower(): Promise<number> {
  if (!isMainThread) return helpForEver();
  process.umask(0);
  const orders = new Orders();
  const { from, to } = orders.next<FollowRequest>();
  try {
    await follow(from, to, orders);
    return 0;
  } catch (error) {
    const code = errorCode(error);
    const text = error instanceof Error ? error.message : String(error);
    const isFull = code === "ENOSPC" || code === "EDQUOT";
    say({ say: "failed", message: visible(text), why: isFull ? "full" : isTooLarge(error) ? "too large" : null });
    return 1;
  }
}

async function follow(from: string, to: string, orders: Orders): Promise<void> {
  const tree = openSync(from, O_RDONLY | O_DIRECTORY);
  let copy: number | undefined;
  const helpers: Worker[] = [];
  const give = (rows: SharedRows): void => {
    for (const helper of helpers) helper.postMessage(rows);
  };
  const openCopy = (): number => (copy ??= openSync(to, O_RDONLY | O_DIRECTORY));
  const follower = new Follower(tree, openCopy, mostDirectories(), give);
  while (helpers.length + 1 < Math.min(THREADS_MAX, availableParallelism())) helpers.push(help(follower.turn));
  using fileSystem = openFileSystem(from);
  try {
    follower.look(await synced(fileSystem));
  } catch (error) {
    if (!isTooLarge(error)) throw error;
    say({ say: "looked", possible: false });
    return;
  }
  say({ say: "looked", possible: true });
  for (let order: FollowOrder | undefined; order !== "finish"; ) {
    order = orders.next<FollowOrder>();
    let since: number | null = null;
    if (order === "catch up") {
      await fileSystem.sync(); // much, and what changes meanwhile is for the next
      since = await synced(fileSystem);
    }
    const begin = monotonic();
    const entries = follower.follow(since);
    say({ say: "followed", entries, ms: monotonic() - begin });
  }
  if (copy !== undefined) closeSync(copy);
}

function isTooLarge(error: unknown): boolean {
  return error instanceof TooLarge || errorCode(error) === "EMFILE";
}

/** When it was begun, by the clock that files have their times from, also where that was put back meanwhile. */
async function synced(fileSystem: SyncedFileSystem): Promise<number> {
  const [begin, monotonicBegin] = [Date.now(), monotonic()];
  await fileSystem.sync();
  return Math.min(begin, Date.now() - (monotonic() - monotonicBegin));
}

function mostDirectories(): number {
  const [, limit = "1024"] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return Math.floor(Number(limit) * SHARE);
}

/** A thread that looks at names, too, if it has come that far by then. */
function help(turn: Int32Array): Worker {
  const worker = new Worker(clientProgram(), { argv: [FOLLOWER_VERB], workerData: turn });
  worker.on("error", () => undefined);
  return worker;
}

/** Until the process ends. */
function helpForEver(): never {
  const turn: Int32Array = workerData;
  const take = (): SharedRows | undefined => {
    let last: SharedRows | undefined;
    for (let got = receive(); got !== undefined; got = receive()) last = got.message;
    return last;
  };
  for (let number = Atomics.load(turn, 0); ; ) number = helpLooking(turn, number, take);
}

function receive(): { readonly message: SharedRows } | undefined {
  return parentPort === null ? undefined : receiveMessageOnPort(parentPort);
}

/** Those of whoever has started this process, from its stdin. */
class Orders {
  #rest = "";
  readonly #bytes = Buffer.alloc(64 << 10);

  /** Waits for it; when there will be none any more, this ends. */
  next<T>(): T {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return JSON.parse(line);
      }
      const count = readSync(0, this.#bytes, 0, this.#bytes.length, null);
      if (count === 0) throw new BerthError("this is a part of snapshot, and no verb of its own");
      this.#rest += this.#bytes.toString("utf8", 0, count);
    }
  }
}

function say(message: FollowerMessage): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}
