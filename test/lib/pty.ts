/**
 * A command on a real pseudo terminal: what a user's terminal emulator is to it.
 *
 *   await using terminal = openTerminal({ rows: 24, columns: 80 });
 *   const child = terminal.spawn([BERTH, "run", ...], root.env);        // leads a session that has this terminal
 *   await terminal.until(/up/);                                          // in all output so far
 *   terminal.type("\x1d"); terminal.resize({ rows: 50, columns: 132 });
 *   terminal.modes()                                                     // struct termios as hex: the same again = restored
 *   terminal.flags()                                                     // { raw, echo, ... }
 *   terminal.stall(); terminal.read();                                   // a user who does not look, and then does
 *   terminal.hangUp();                                                   // the window is closed
 *   await child.end                                                      // { status, signal }
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../../src/errors.ts";
import { TIOCGPTPEER, TIOCSPTLCK } from "../../src/sys/constants.ts";
import { bind, check, pinned } from "../../src/sys/libc.ts";
import { type Unwatch, watch } from "../../src/sys/poll.ts";
import { setWindowSize, type WindowSize } from "../../src/sys/terminal.ts";
import { poll } from "./berth.ts";

const ioctl = bind("int ioctl(int fd, ulong request, void *argument)");
const ioctlNumber = bind("int ioctl(int fd, ulong request, long argument)");

// asm-generic/ioctls.h, asm-generic/termbits.h
const TCGETS = 0x5401;
const SIZE_OF_TERMIOS = 36;
const OPOST = 0o1;
const ISIG = 0o1;
const ICANON = 0o2;
const ECHO = 0o10;

const CHUNK = 64 << 10;
const SETTLE_MS = 50;

export interface TerminalEnd {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Terminal implements AsyncDisposable {
  #master: number;
  /** Held, so that the master is not hung up between two commands. */
  #slave: number;
  #unwatch: Unwatch | undefined;
  readonly #chunks: Buffer[] = [];
  readonly #children: { readonly child: ChildProcess; readonly end: Promise<TerminalEnd> }[] = [];

  constructor(size: WindowSize) {
    this.#master = openSync("/dev/ptmx", constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    check(ioctl(this.#master, TIOCSPTLCK, pinned(4)), "ioctl TIOCSPTLCK");
    this.#slave = check(
      ioctlNumber(this.#master, TIOCGPTPEER, constants.O_RDWR | constants.O_NOCTTY),
      "ioctl TIOCGPTPEER",
    );
    setWindowSize(this.#master, size);
    this.read();
  }

  /** All that was shown, line ends as they came. */
  get output(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  spawn(
    argv: readonly string[],
    env: NodeJS.ProcessEnv,
  ): { readonly child: ChildProcess; readonly end: Promise<TerminalEnd> } {
    const stdio = [this.#slave, this.#slave, this.#slave];
    const child = spawn("setsid", ["--ctty", ...argv], { stdio, env: { ...env, TERM: "vt220" } });
    const end = new Promise<TerminalEnd>((resolve, reject) => {
      child.once("error", reject);
      // The kernel passes on what was written a moment later, and who waits for the end looks at all of it.
      child.once("exit", (status, signal) => setTimeout(() => resolve({ status, signal }), SETTLE_MS));
    });
    this.#children.push({ child, end });
    return { child, end };
  }

  async until(pattern: RegExp): Promise<void> {
    try {
      await poll(`${pattern} on the terminal`, () => pattern.test(this.output) || undefined);
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; it shows:\n${this.output}`);
    }
  }

  type(text: string): void {
    writeSync(this.#master, text);
  }

  /** The same where it may be more than there is room for just now. */
  async typeSlowly(text: string): Promise<void> {
    await poll("room for what is typed", () => {
      try {
        this.type(text);
        return true;
      } catch (error) {
        if (errorCode(error) === "EAGAIN") return undefined;
        throw error;
      }
    });
  }

  /** The foreground process group gets SIGWINCH. */
  resize(size: WindowSize): void {
    setWindowSize(this.#master, size);
  }

  modes(): string {
    const termios = pinned(SIZE_OF_TERMIOS);
    check(ioctl(this.#slave, TCGETS, termios), "ioctl TCGETS");
    return termios.toString("hex");
  }

  flags(): {
    readonly signals: boolean;
    readonly canonical: boolean;
    readonly echo: boolean;
    readonly translates: boolean;
  } {
    const termios = Buffer.from(this.modes(), "hex");
    const [output, local] = [termios.readUInt32LE(4), termios.readUInt32LE(12)];
    return {
      signals: (local & ISIG) !== 0,
      canonical: (local & ICANON) !== 0,
      echo: (local & ECHO) !== 0,
      translates: (output & OPOST) !== 0,
    };
  }

  /** From now on nothing is read: what writes here blocks when the terminal's buffer is full. */
  stall(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  read(): void {
    this.#unwatch ??= watch(this.#master, { readable: true }, () => this.#drain());
  }

  hangUp(): void {
    this.stall();
    closeSync(this.#slave);
    closeSync(this.#master);
    this.#master = -1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child, end } of this.#children) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await end;
    }
    if (this.#master >= 0) this.hangUp();
  }

  #drain(): void {
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      try {
        const length = readSync(this.#master, chunk);
        if (length === 0) return;
        this.#chunks.push(chunk.subarray(0, length));
      } catch {
        return; // EAGAIN: all there is now
      }
    }
  }
}

/** When a terminal of a machine, its console or one that was opened for a command, has got this size. */
export async function untilSized(leader: number, { rows, columns }: WindowSize): Promise<void> {
  const devices = `/proc/${leader}/root/dev`;
  const sizeOf = (path: string) => spawnSync("stty", ["-F", join(devices, path), "size"], { encoding: "utf8" }).stdout;
  await poll(`a terminal of ${rows} rows and ${columns} columns`, () => {
    const terminals = readdirSync(join(devices, "pts")).filter((name) => name !== "ptmx");
    const sizes = ["console", ...terminals.map((name) => join("pts", name))].map(sizeOf);
    return sizes.includes(`${rows} ${columns}\n`) ? true : undefined;
  });
}

export function openTerminal(size: WindowSize = { rows: 24, columns: 80 }): Terminal {
  return new Terminal(size);
}
