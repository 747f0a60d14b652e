import { getWindowSize, inForeground, isTerminal, makeRaw, type WindowSize } from "../sys/terminal.ts";
import type { TerminalLook } from "./terminal-look.ts";

export { isTerminal } from "../sys/terminal.ts";

const [STDIN, STDOUT] = [0, 1] as const;

/**
 * The terminal on berth's stdin and stdout, if there is one. While it is lent to a machine it may be raw; its modes are
 * put back on every way out: when it is taken back, when berth ends or is suspended (SIGTSTP), and by Node's own end.
 */
export class CallerTerminal {
  /** Mostly both are one terminal: it is made raw twice then, and put back last as it was found first. */
  readonly #fds = [STDIN, STDOUT].filter((fd) => isTerminal(fd));
  #found: { readonly fd: number; readonly putBack: () => void }[] = [];
  readonly #look: TerminalLook | undefined;
  #onSize: () => void = () => undefined;
  readonly #onWindow = (): void => this.#onSize();
  readonly #onContinue = (): void => this.#resume();
  readonly #onSuspend = (): void => this.#suspend();
  readonly #putBack = (): void => this.#putModesBack();

  /** `look`: how it is shown for as long as it is lent raw. */
  constructor(look?: (fd: number) => TerminalLook) {
    if (this.#fds.includes(STDOUT)) this.#look = look?.(STDOUT);
  }

  /** Of what is looked at; undefined: no terminal, or it was hung up. */
  get size(): WindowSize | undefined {
    if (!this.#fds.includes(STDOUT)) return undefined;
    try {
      return getWindowSize(STDOUT);
    } catch {
      return undefined;
    }
  }

  /** `raw`: every key goes to the machine. `onSize` hears when the size has changed or may have. */
  lend(raw: boolean, onSize: () => void): void {
    if (this.#fds.length === 0) return;
    this.#onSize = onSize;
    process.on("SIGWINCH", this.#onWindow);
    process.on("SIGCONT", this.#onContinue);
    if (!raw) return;
    process.on("SIGTSTP", this.#onSuspend);
    process.on("exit", this.#putBack);
    for (const fd of this.#fds) this.#found.unshift({ fd, putBack: makeRaw(fd) });
    this.#look?.show();
  }

  takeBack(): void {
    process.off("SIGWINCH", this.#onWindow);
    process.off("SIGCONT", this.#onContinue);
    process.off("SIGTSTP", this.#onSuspend);
    process.off("exit", this.#putBack);
    this.#putModesBack();
    this.#found = [];
    this.#look?.close();
  }

  /**
   * A shell has set modes of its own while we were stopped. In the background this stops us again (SIGTTOU), as every
   * program that needs its terminal, until the shell's fg: no signal would tell us of that if we ran.
   */
  #resume(): void {
    for (const { fd } of this.#found.toReversed()) {
      try {
        makeRaw(fd);
      } catch {
        // it was hung up while we were stopped
      }
    }
    if (this.#found.length > 0) this.#look?.show();
    this.#onSize();
  }

  #suspend(): void {
    this.#putModesBack();
    process.kill(process.pid, "SIGSTOP");
  }

  /** In the background the terminal is the shell's, and an attempt would stop us on our way out. */
  #putModesBack(): void {
    if (this.#found.length > 0 && inForeground(STDOUT)) this.#look?.putBack();
    for (const { fd, putBack } of this.#found) if (inForeground(fd)) putBack();
  }
}
