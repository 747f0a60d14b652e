import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { closeQuietly } from "../sys/files.ts";
import { type Unwatch, watch } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { connectStream, peerCredentials, peerPidfd } from "../sys/unix-stream.ts";
import { addressOf } from "./address.ts";
import { busConfig, type Service } from "./bus-policy.ts";

const [SIGHUP, SIGKILL, SIGTERM] = [1, 9, 15] as const;
/** sizeof sun_path: others than us connect to it, too. */
const LONGEST_PATH = 107;
const START_MS = 10_000;
const STOP_MS = 2000;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** One that ran so long did not end because of how it was started. */
const STEADY_MS = 5000;
/** What Debian's system bus runs as; where there is no such user ours stays root. */
const USER = "messagebus";

/** A process that is watched by its pidfd, until it ends or is forgotten. */
interface Running {
  readonly ended: Promise<void>;
  readonly signal: (number: number) => void;
  readonly forget: Unwatch;
}

/**
 * A dbus-daemon of berth's own, for where the host has no bus that it may use. It outlives us, so that its clients stay
 * connected while berth's daemon is restarted, and the next one finds it by its socket; if it dies another one is
 * started. `stop` ends it.
 */
export class PrivateBus {
  readonly address: string;
  readonly #socket: string;
  readonly #configFile: string;
  readonly #config: string;
  readonly #program: string;
  readonly #log: (text: string) => void;
  #running: Running | undefined;
  /** Aborted by whatever ends our interest in it. */
  #watching = new AbortController();

  constructor(options: {
    /** The root's run directory. */
    readonly run: string;
    readonly services: readonly Service[];
    readonly log?: (text: string) => void;
    readonly program?: string;
  }) {
    this.#socket = join(options.run, "bus");
    this.#configFile = join(options.run, "bus.conf");
    this.address = addressOf(this.#socket);
    this.#log = options.log ?? (() => undefined);
    this.#program = options.program ?? "dbus-daemon";
    this.#config = busConfig({
      address: this.address,
      user: userExists(USER) ? USER : undefined,
      services: options.services,
    });
  }

  /** Finds the one that runs, or starts it; resolves when it can be connected to. @throws BerthError */
  async start(): Promise<void> {
    if (Buffer.byteLength(this.#socket) > LONGEST_PATH)
      throw new BerthError(`the path of a bus's socket has at most ${LONGEST_PATH} bytes: ${this.#socket}`, {
        hint: "a root directory with a shorter path has room for it",
      });
    this.#watching = new AbortController();
    const pidfd = await findDaemon(this.#socket);
    if (pidfd !== undefined) this.#running = running(pidfd);
    const changed = this.#renewConfig(pidfd !== undefined);
    this.#running ??= await this.#spawn();
    if (changed && pidfd !== undefined) this.#running.signal(SIGHUP);
    void this.#keep(this.#running, this.#watching.signal);
  }

  /** Leaves it running, and looks after it no longer. */
  release(): void {
    this.#watching.abort();
    this.#running?.forget();
    this.#running = undefined;
  }

  /** Ends it, one that an earlier daemon left running included. */
  async stop(): Promise<void> {
    this.#watching.abort();
    const pidfd = this.#running ? undefined : await findDaemon(this.#socket);
    const found = this.#running ?? (pidfd === undefined ? undefined : running(pidfd));
    if (found) await terminate(found);
    this.#running = undefined;
    for (const file of [this.#socket, this.#configFile]) rmSync(file, { force: true });
  }

  /** Starts another one whenever it ends. */
  async #keep(first: Running, signal: AbortSignal): Promise<void> {
    let delay = FIRST_DELAY_MS;
    for (let current: Running | undefined = first; ; current = await this.#trySpawn()) {
      const since = performance.now();
      await current?.ended;
      if (signal.aborted) return;
      if (current) this.#log("berth's own bus ended, and is started again");
      delay = performance.now() - since > STEADY_MS ? FIRST_DELAY_MS : Math.min(2 * delay, LONGEST_DELAY_MS);
      await sleep(delay, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
    }
  }

  async #trySpawn(): Promise<Running | undefined> {
    try {
      const started = await this.#spawn();
      // stop() came while it started.
      if (this.#watching.signal.aborted) await terminate(started);
      else this.#running = started;
      return started;
    } catch (error) {
      this.#log(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  async #spawn(): Promise<Running> {
    const words = [`--config-file=${this.#configFile}`, "--nofork", "--nopidfile", "--print-address=1"];
    // It would die of SIGPIPE at its first warning after nobody reads what it says.
    const child = spawn("sh", ["-c", 'trap "" PIPE; exec "$0" "$@"', this.#program, ...words], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      cwd: "/",
      env: { PATH: process.env["PATH"] },
    });
    await untilReady(child, this.#program);
    // From here on syslog alone hears it.
    for (const pipe of [child.stdout, child.stderr]) pipe.destroy();
    child.unref();
    return running(pidfdOpen(child.pid ?? -1));
  }

  /** Of one that runs: on a disk that is full it goes on with what it has. */
  #renewConfig(runs: boolean): boolean {
    try {
      return this.#writeConfig();
    } catch (error) {
      if (!runs) throw error;
      this.#log(`berth's own bus keeps its rules: ${(error as Error).message}`);
      return false;
    }
  }

  /** Whether it is another one than was there. */
  #writeConfig(): boolean {
    try {
      if (readFileSync(this.#configFile, "utf8") === this.#config) return false;
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
    const fresh = `${this.#configFile}.new`;
    writeFileSync(fresh, this.#config, { mode: 0o644 });
    renameSync(fresh, this.#configFile);
    return true;
  }
}

function running(pidfd: number): Running {
  let known = true;
  let forget: Unwatch = () => undefined;
  const ended = new Promise<void>((resolve) => {
    const unwatch = watch(pidfd, { readable: true }, () => {
      forget();
      resolve();
    });
    forget = () => {
      if (!known) return;
      known = false;
      unwatch();
      closeQuietly(pidfd);
    };
  });
  return { ended, forget, signal: (number) => void (known && pidfdSendSignal(pidfd, number)) };
}

async function terminate({ signal, ended, forget }: Running): Promise<void> {
  const late = new AbortController();
  const gone = ended.then(() => true);
  const waited = (): Promise<boolean> =>
    Promise.race([gone, sleep(STOP_MS, false, { signal: late.signal }).catch(() => false)]);
  signal(SIGTERM);
  if (!(await waited())) {
    signal(SIGKILL);
    await waited();
  }
  late.abort();
  forget();
}

/** A pidfd of who listens at the socket; undefined: nobody does. */
async function findDaemon(socket: string): Promise<number | undefined> {
  let fd: number;
  try {
    fd = await connectStream(socket);
  } catch (error) {
    if (["ENOENT", "ECONNREFUSED"].includes(errorCode(error) ?? "")) return undefined;
    throw error;
  }
  try {
    // Before Linux 6.5 its pid could be another's by now; but then nobody would have listened a moment ago.
    return peerPidfd(fd) ?? pidfdOpen(peerCredentials(fd).pid);
  } finally {
    closeQuietly(fd);
  }
}

/** @throws BerthError with what it said, or did, instead of getting ready */
function untilReady(child: ChildProcessByStdio<null, Readable, Readable>, program: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let complaints = "";
    const fail = (what: string, hint?: string): void => {
      clearTimeout(late);
      child.kill("SIGKILL");
      reject(new BerthError(`berth's own bus did not start: ${what}`, { hint }));
    };
    const late = setTimeout(() => fail(`it is not ready after ${START_MS / 1000} s`), START_MS);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (complaints.length < 10_000) complaints += text;
    });
    // Its address, once it listens there.
    child.stdout.once("data", () => {
      clearTimeout(late);
      resolve();
    });
    child.once("error", (error) => fail(error.message));
    child.once("close", (code, signal) => {
      if (code === 127) fail(`there is no ${program}`, "install Debian's package dbus-daemon");
      else fail(complaints.trim().split("\n").at(-1) || `it ended with ${signal ?? code}`);
    });
  });
}

function userExists(name: string): boolean {
  try {
    return readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .some((line) => line.startsWith(`${name}:`));
  } catch {
    return false;
  }
}
