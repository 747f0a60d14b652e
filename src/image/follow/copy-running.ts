import { type ChildProcess, spawn } from "node:child_process";
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { BerthError } from "../../errors.ts";
import { SYSTEM_PATH } from "../../host/find-program.ts";
import { clientProgram } from "../../host/installation.ts";
import type { OnCopied } from "../copy-progress.ts";
import { copyTree } from "../copy-tree.ts";
import type { Still } from "../driver.ts";
import { notesChanges } from "../file-systems.ts";
import { FOLLOWER_VERB, type FollowerMessage, type FollowOrder, type FollowRequest } from "./protocol.ts";

/** Turns before the machine is held still, should it change much in one. */
const TURNS_MAX = 3;
const MUCH_MS = 50;

/**
 * Copies a tree as it is at one moment, while a machine runs from it. The copy is made while the machine goes on, and then made to follow
 * the tree (follower.ts): the machine stands still only while what it has changed of late is copied again.
 *
 * fanotify(7) would name what changes, but not what is written through mappings, nor, of a stack, what overlayfs itself writes to the
 * files below it; and its queue can overflow. Looking at every name while the machine stands still takes 1 us each with two cores.
 */
export async function copyRunning(
  from: string,
  to: string,
  still: Still,
  signal: AbortSignal,
  progress?: OnCopied,
): Promise<void> {
  if (still.isNeeded() && notesChanges(statfsSync(from).type)) {
    using follower = new FollowerProcess({ from, to }, signal);
    if (await follower.looked) {
      await copyTree(from, to, signal, { progress });
      for (let turn = 0; turn < TURNS_MAX && (await follower.order("catch up")) > MUCH_MS; ) turn++;
      await still.during(async () => void (await follower.order("finish")));
      return;
    }
  }
  await still.during(() => copyTree(from, to, signal, { progress }));
}

/** What is to be said next by the follower. */
interface Waiting {
  readonly hear: (message: FollowerMessage) => void;
  readonly fail: (error: Error) => void;
}

class FollowerProcess implements Disposable {
  /** Whether it can follow that tree. */
  readonly looked: Promise<boolean>;
  readonly #child: ChildProcess;
  readonly #signal: AbortSignal;
  readonly #kill = (): void => void this.#child.kill("SIGKILL");
  readonly #to: string;
  #waiting: Waiting | undefined;
  #rest = "";
  #stderr = "";

  constructor(request: FollowRequest, signal: AbortSignal) {
    signal.throwIfAborted();
    this.#signal = signal;
    this.#to = request.to;
    // In a session of its own: ^C is for us. It dies with us: what is then swept is not to be written to any more.
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", process.execPath, clientProgram(), FOLLOWER_VERB], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: { PATH: SYSTEM_PATH },
    });
    const { stdin, stdout, stderr } = this.#child;
    stdin?.on("error", () => undefined); // it has ended, which is seen below
    stdout?.setEncoding("utf8").on("data", (text: string) => this.#hear(text));
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_MAX);
    });
    this.#child.once("error", (error) => this.#waiting?.fail(error));
    this.#child.once("close", () => this.#waiting?.fail(this.#ended()));
    signal.addEventListener("abort", this.#kill);
    this.looked = this.#ask(request).then((message) => message.say === "looked" && message.possible);
    this.looked.catch(() => undefined); // said to whoever awaits it
  }

  /** How long that took, ms. */
  async order(order: FollowOrder): Promise<number> {
    const message = await this.#ask(order);
    return message.say === "followed" ? message.ms : 0;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#kill);
    this.#kill();
  }

  async #ask(what: FollowRequest | FollowOrder): Promise<FollowerMessage> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw this.#ended();
    const answer = new Promise<FollowerMessage>((hear, fail) => {
      this.#waiting = { hear, fail };
    });
    this.#child.stdin?.write(`${JSON.stringify(what)}\n`);
    const message = await answer;
    if (message.say === "failed")
      throw new BerthError(`cannot copy what the machine has changed meanwhile: ${message.message}`, {
        hint: this.#hintOf(message.why),
      });
    return message;
  }

  #hintOf(why: "full" | "too large" | null): string | undefined {
    if (why === "full") return `make room on the file system of ${dirname(dirname(this.#to))}`;
    return why === null
      ? undefined
      : "try again: a machine of which so much is known before is stopped, and then all is copied";
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#waiting?.hear(JSON.parse(line));
  }

  #ended(): Error {
    if (this.#signal.aborted) return this.#signal.reason;
    const { exitCode, signalCode } = this.#child;
    const how = signalCode === null ? `ended with status ${exitCode}` : `was killed by ${signalCode}`;
    const said = this.#stderr.trim().split("\n").at(-1) ?? "";
    return new BerthError(`the process that follows changes ${how}${said === "" ? "" : `: ${said}`}`);
  }
}

/** Of its stderr, where only what must not happen is said. */
const STDERR_MAX = 4096;
