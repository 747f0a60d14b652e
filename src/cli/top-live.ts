import { spawn } from "node:child_process";
import { BerthError } from "../errors.ts";
import { printable } from "../spec/quote.ts";
import { CallerTerminal } from "../supervise/caller-terminal.ts";
import { SteadyOutput } from "../supervise/steady-output.ts";
import { FullScreen } from "../supervise/terminal-look.ts";
import type { LoadSource } from "./load-source.ts";
import { withMachines } from "./machines.ts";
import { hasUtf8 } from "./progress.ts";
import { splitKeys, type TopWish, wishOf } from "./top-keys.ts";
import { type Order, sortRows, type TopRow, TopRows } from "./top-rows.ts";
import { drawFrame } from "./top-screen.ts";
import type { Context } from "./verb.ts";

export interface LiveOptions {
  readonly names: readonly string[];
  readonly order: Order;
  /** ms between two refreshes. */
  readonly delay: number;
}

/** The live view on the caller's terminal, which is put back on every way out. */
export class TopLive {
  readonly #context: Context;
  readonly #source: LoadSource;
  readonly #options: LiveOptions;
  readonly #terminal = new CallerTerminal((fd) => new FullScreen(fd));
  #output: SteadyOutput | undefined;
  readonly #reckoning = new TopRows();
  #rows: readonly TopRow[] = [];
  #order: Order;
  #selected: string | undefined;
  #message = "";
  /** The machine that is to be powered off, once that is confirmed. */
  #asked: string | undefined;
  #help = false;
  /** That has the terminal. */
  #shell: Promise<void> = Promise.resolve();
  #reading = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #left = Promise.withResolvers<void>();
  readonly #onData = (chunk: Buffer | string): void => this.#type(String(chunk));
  readonly #leave = (): void => this.#left.resolve();

  constructor(context: Context, source: LoadSource, options: LiveOptions) {
    this.#context = context;
    this.#source = source;
    this.#options = options;
    this.#order = options.order;
  }

  /** Resolves when the user has left it. */
  async run(): Promise<void> {
    this.#context.signal.addEventListener("abort", this.#leave, { once: true });
    try {
      this.#open();
      this.#refresh();
      this.#timer = setInterval(() => this.#refresh(), this.#options.delay);
      await this.#left.promise;
    } finally {
      clearInterval(this.#timer);
      await this.#shell;
      this.#close();
    }
  }

  #open(): void {
    const output = new SteadyOutput(1);
    this.#output = output;
    output.onLost(this.#leave);
    this.#terminal.lend(true, () => this.#draw());
    process.stdin.on("data", this.#onData).on("end", this.#leave).on("error", this.#leave).resume();
  }

  #close(): void {
    process.stdin.off("data", this.#onData).off("end", this.#leave).off("error", this.#leave).pause();
    // First, so that no rest of a frame comes after the screen of before.
    this.#output?.close();
    this.#output = undefined;
    this.#terminal.takeBack();
  }

  #refresh(): void {
    if (this.#reading) return; // the last one still waits
    this.#reading = true;
    this.#source
      .read(this.#options.names)
      .then((loads) => {
        this.#rows = this.#reckoning.next(loads);
      })
      .catch((error: Error) => this.#say(error.message))
      .finally(() => {
        this.#reading = false;
        this.#draw();
      });
  }

  #say(message: string): void {
    this.#message = message;
    this.#draw();
  }

  /** What a terminal that stands still has not taken is not drawn over: the next frame shows all of it. */
  #draw(): void {
    const { size } = this.#terminal;
    if (this.#output === undefined || size === undefined || size.rows === 0 || size.columns === 0) return;
    const rows = sortRows(this.#rows, this.#order);
    if (!rows.some(({ name }) => name === this.#selected)) this.#selected = rows[0]?.name;
    const { env } = this.#context;
    const frame = drawFrame({
      rows,
      order: this.#order,
      selected: this.#selected,
      message: this.#message,
      help: this.#help,
      size,
      colours: !env["NO_COLOR"],
      sparks: hasUtf8(env) ? "utf-8" : "ascii",
    });
    this.#output.write(frame);
  }

  #type(text: string): void {
    for (const key of splitKeys(text)) {
      // After Enter the keys are another's.
      if (this.#output === undefined) return;
      const wish = wishOf(key);
      if (this.#help && wish?.kind !== "quit") this.#help = false;
      else if (this.#asked !== undefined && wish?.kind !== "quit") this.#answer(this.#asked, wish?.kind === "yes");
      else if (wish !== undefined) this.#do(wish);
    }
    this.#draw();
  }

  #do(wish: TopWish): void {
    this.#message = "";
    switch (wish.kind) {
      case "quit":
        this.#leave();
        return;
      case "suspend":
        process.kill(process.pid, "SIGTSTP");
        return;
      case "order":
        this.#order = wish.order(this.#order);
        return;
      case "move":
        this.#move(wish.by);
        return;
      case "help":
        this.#help = true;
        return;
      case "stop":
        if (this.#selected === undefined) return;
        this.#asked = this.#selected;
        this.#message = `power ${this.#selected} off? y, or any other key for no`;
        return;
      case "enter":
        if (this.#selected !== undefined) this.#shell = this.#enter(this.#selected);
        return;
      default:
        return;
    }
  }

  #move(by: number): void {
    const rows = sortRows(this.#rows, this.#order);
    const at = rows.findIndex(({ name }) => name === this.#selected);
    this.#selected = rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.name;
  }

  #answer(name: string, yes: boolean): void {
    this.#asked = undefined;
    this.#message = yes ? `${name} is asked to power off` : "";
    if (!yes) return;
    withMachines(this.#context, [name], (machines) => machines.powerOff(name, true, null))
      .then(() => this.#say(`${name} has ended`))
      .catch((error: Error) => this.#say(`berth poweroff ${name}: ${error.message}`));
  }

  /** A shell on this terminal, as `berth shell` opens it: what that says of itself is shown when it is over. */
  async #enter(name: string): Promise<void> {
    this.#close();
    try {
      this.#message = await shellIn(name, this.#context);
    } finally {
      if (!this.#context.signal.aborted) this.#open();
      this.#refresh();
      this.#draw();
    }
  }
}

/** Resolves to what is to be said of it. */
function shellIn(name: string, { paths, env, signal }: Context): Promise<string> {
  const [, program = ""] = process.argv;
  const own = { BERTH_ETC: paths.etc, BERTH_RUN: paths.run, BERTH_MACHINES: paths.machines, BERTH_CACHE: paths.cache };
  const child = spawn(process.execPath, [...process.execArgv, program, "shell", name], {
    stdio: ["inherit", "inherit", "pipe"],
    env: { ...env, ...own },
  });
  signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (status) => {
      const [first] = said.split("\n");
      resolve(first || (status === 0 ? "" : `the shell in ${printable(name)} has ended: ${status ?? "killed"}`));
    });
  });
}

/** One that can be said to what asks for machines that there are not. */
export function notRunning(name: string): BerthError {
  return new BerthError(`machine ${name} does not run`, {
    kind: "NoSuchMachine",
    hint: `berth start ${name} boots it`,
  });
}
