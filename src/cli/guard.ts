import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, EXIT_FAILED } from "../errors.ts";
import { openSnapshots } from "../image/snapshots/snapshots.ts";
import { runningFrom } from "../machine/still.ts";
import type { MethodName, Methods } from "../manager/protocol.ts";
import { quote, visible } from "../spec/quote.ts";
import { DaemonGone } from "./daemon-client.ts";
import { needDaemon } from "./daemon-start.ts";
import { execCommand } from "./exec-command.ts";
import { say } from "./output.ts";
import { rollBack, takeSnapshot } from "./snapshots.ts";
import type { Context } from "./verb.ts";

export interface GuardRequest {
  readonly name: string;
  readonly argv: readonly string[];
  readonly terminal: boolean;
  /** Null: a name is made. */
  readonly snapshot: string | null;
  readonly reboot: boolean;
  /** For the reboot until the machine is ready, ms. */
  readonly timeout: number;
  /** For the machine's shell. */
  readonly check: string | null;
}

const CHECK_FAILED = 123;
/** As timeout(1) has it. */
const TOO_LATE = 124;
const BERTH_FAILED = 125;
const INTERRUPTED = 130;

/** An init that counts as ready because it runs is not, if it ends within this time. */
const SETTLE_MS = 100;
/** Succeeds where that is so; fails where there is no systemd either. */
const IN_MAINTENANCE = '[ "$(systemctl is-system-running 2>/dev/null)" = maintenance ]';
const COMMENT_MAX = 200;
/** At a daemon that goes. */
const ATTEMPTS = 5;
const AGAIN_MS = 200;

/** Why all is undone: its exit status is that of the command line, also if it is 1. */
class GuardFailure extends BerthError {}

/** Of commands that were not found, or could not be executed, as shells have it. */
const NOT_EXECUTED = new Set([126, 127]);

/** The command was not executed: there is nothing to undo. */
class NotExecuted extends Error {
  override readonly cause: BerthError;

  constructor(cause: BerthError) {
    super(cause.message);
    this.cause = cause;
  }
}

/** A change of a machine that is undone if it fails: from a snapshot to the sentence that says how it ended. */
export class Guard {
  readonly #context: Context;
  readonly #request: GuardRequest;
  /** First ^C: what goes on is given up. Second: the command is not waited for. */
  readonly #interrupt = [new AbortController(), new AbortController()] as const;

  constructor(context: Context, request: GuardRequest) {
    this.#context = context;
    this.#request = request;
  }

  /** Resolves to the exit status. */
  async run(): Promise<number> {
    const { name } = this.#request;
    await this.#requireRunning();
    const onSignal = (): void => this.#interrupt.find(({ signal }) => !signal.aborted)?.abort(interrupted());
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    for (const each of signals) process.on(each, onSignal);
    try {
      const { snapshot } = await this.#snapshot();
      try {
        await this.#change();
      } catch (error) {
        if (!(error instanceof NotExecuted)) return await this.#undo(snapshot, error);
        await openSnapshots(this.#context.paths).remove(name, snapshot);
        throw error.cause;
      }
      this.#tell(
        `${this.#done()}; ${name}@${snapshot} is what was before: berth rollback ${name} ${snapshot} --restart goes back`,
      );
      return 0;
    } finally {
      for (const each of signals) process.off(each, onSignal);
    }
  }

  async #requireRunning(): Promise<void> {
    const { name } = this.#request;
    const view = await this.#ask("view", { name });
    if (view.state === "running" && view.managed) return this.#requireWayBack();
    const why = view.state === "running" ? "it is not berthd's, but a berth run's" : `it is ${view.state}`;
    const hint = view.managed ? undefined : `berth start ${name} boots it in the background`;
    throw new BerthError(`machine ${name} can't be guarded: ${why}`, { hint, kind: "NotSupported" });
  }

  /** Found out before anything is changed. */
  #requireWayBack(): void {
    const { name } = this.#request;
    const { paths } = this.#context;
    const others = runningFrom(openSnapshots(paths).find(name).path, paths).filter((other) => other.name !== name);
    const [other] = others;
    if (other === undefined) return;
    throw new BerthError(
      `machine ${name} can't be guarded: it could not be rolled back while ${other.name} runs from the same image`,
      { hint: `berth poweroff ${others.map((each) => each.name).join(" ")} first`, kind: "Busy" },
    );
  }

  async #snapshot(): Promise<{ readonly snapshot: string }> {
    const { name, snapshot } = this.#request;
    const comment = `before ${this.#command()}`.slice(0, COMMENT_MAX);
    const made = await takeSnapshot({ ...this.#context, signal: this.#interrupt[0].signal }, name, snapshot, comment);
    this.#tell(`${name}@${made.name} is made`);
    return { snapshot: made.name };
  }

  async #change(): Promise<void> {
    const { argv, terminal, reboot, check } = this.#request;
    const status = await this.#exec(argv, terminal).catch(unlessExecuted);
    this.#interrupt[0].signal.throwIfAborted();
    if (status !== 0) throw new GuardFailure(`${this.#command()} ended with status ${status}`, { exitStatus: status });
    if (reboot) {
      await this.#reboot();
      await this.#requireBooted();
    }
    if (check === null) return;
    const checked = await this.#exec(["/bin/sh", "-c", check], false);
    this.#interrupt[0].signal.throwIfAborted();
    if (checked !== 0)
      throw new GuardFailure(`the check ${quote(check)} ended with status ${checked}`, { exitStatus: CHECK_FAILED });
  }

  async #exec(argv: readonly string[], terminal: boolean): Promise<number> {
    const request = { argv, user: undefined, directory: undefined, environment: [], terminal };
    return execCommand(this.#request.name, { ...request, abort: this.#interrupt[1].signal }, this.#context);
  }

  async #reboot(): Promise<void> {
    const { name, timeout } = this.#request;
    this.#tell("rebooting");
    const client = await needDaemon(this.#context.paths, this.#context.env);
    const late = AbortSignal.timeout(timeout);
    const signal = AbortSignal.any([late, this.#interrupt[0].signal]);
    const ended = async (): Promise<never> => {
      await client.call("wait", { name, state: "stopped" }, { signal });
      throw new GuardFailure("it has ended instead of booting again", { exitStatus: TOO_LATE });
    };
    try {
      await client.call("reboot", { name });
      await Promise.race([
        ended(),
        client.call("wait", { name, state: "running" }, { signal }).then(() => sleep(SETTLE_MS, undefined, { signal })),
      ]);
    } catch (error) {
      if (!late.aborted || this.#interrupt[0].signal.aborted) throw error;
      throw new GuardFailure(`it was not ready ${timeout / 1000} s after the reboot`, { exitStatus: TOO_LATE });
    } finally {
      client.close();
    }
  }

  /** systemd says that it is ready also where all that it could start is a shell for repairs. */
  async #requireBooted(): Promise<void> {
    const ask = (): Promise<number> => this.#exec(["/bin/sh", "-c", IN_MAINTENANCE], false);
    const status = await untilAnswered(ask).catch((error: unknown) => {
      if (isNotExecuted(error)) return null; // it has no shell
      throw error;
    });
    this.#interrupt[0].signal.throwIfAborted();
    if (status === 0) throw new GuardFailure("it has booted into rescue or emergency mode", { exitStatus: TOO_LATE });
  }

  /** From here on no ^C changes anything: the machine is to be what it was. */
  async #undo(snapshot: string, error: unknown): Promise<number> {
    const { name } = this.#request;
    const { aborted } = this.#interrupt[0].signal;
    const why = aborted ? "interrupted" : error instanceof Error ? error.message : String(error);
    this.#tell(`${why}; rolling back`);
    try {
      const kept = await this.#goBack(snapshot);
      this.#tell(
        `${name} is what it was before and runs; ${name}@${kept} has what was undone: berth diff ${name} ${snapshot} ${kept} shows it`,
      );
    } catch (failed) {
      const first = failed instanceof BerthError && failed.hint !== undefined ? `${failed.hint}; ` : "";
      throw new BerthError(`${why}; the rollback to ${name}@${snapshot} failed: ${(failed as Error).message}`, {
        hint: `${first}berth rollback ${name} ${snapshot} --restart tries again`,
        exitStatus: BERTH_FAILED,
      });
    }
    if (aborted) return INTERRUPTED;
    const isSaid = error instanceof GuardFailure || (error instanceof BerthError && error.exitStatus !== EXIT_FAILED);
    return isSaid ? error.exitStatus : BERTH_FAILED;
  }

  async #goBack(snapshot: string): Promise<string> {
    const { name } = this.#request;
    const { signal } = new AbortController();
    const request = { name, snapshot, undo: false, restart: true, timeout: null };
    return untilAnswered(async () => {
      const { kept, restarted } = await rollBack({ ...this.#context, signal }, request);
      if (!restarted) await this.#ask("start", { name, timeout: null });
      return kept;
    });
  }

  #done(): string {
    const { reboot, check } = this.#request;
    const more = [reboot ? "it has booted again and is ready" : "", check === null ? "" : "the check succeeded"];
    return [`${this.#command()} succeeded`, ...more.filter(Boolean)].join(", ");
  }

  #command(): string {
    return quote(this.#request.argv.join(" "));
  }

  #tell(line: string): void {
    say(`berth: guard: ${visible(line)}\n`);
  }

  async #ask<M extends MethodName>(method: M, params: Methods[M]["params"]): Promise<Methods[M]["result"]> {
    const client = await needDaemon(this.#context.paths, this.#context.env);
    try {
      return await client.call(method, params);
    } finally {
      client.close();
    }
  }
}

/** A daemon that is just being killed may still take a connection: then it is the next one's. */
async function untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof DaemonGone) || attempt === ATTEMPTS) throw error;
      await sleep(AGAIN_MS);
    }
  }
}

function unlessExecuted(error: unknown): never {
  throw isNotExecuted(error) ? new NotExecuted(error) : error;
}

function isNotExecuted(error: unknown): error is BerthError {
  return error instanceof BerthError && NOT_EXECUTED.has(error.exitStatus);
}

function interrupted(): BerthError {
  return new BerthError("interrupted", { exitStatus: INTERRUPTED });
}
