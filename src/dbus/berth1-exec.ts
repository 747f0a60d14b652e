import { DBusError } from "../bus/dbus-error.ts";
import type { MethodCall } from "../bus/method-call.ts";
import type { ExecSession } from "../manager/exec-session.ts";
import { payloadStdio } from "../manager/take-stdio.ts";
import { closeQuietly, duplicate } from "../sys/files.ts";
import { invalid, requireEnvironment } from "./access.ts";
import type { Services } from "./services.ts";

export interface ExecArguments {
  readonly argv: readonly string[];
  /** Empty: root. */
  readonly user: string;
  /** Empty: the user's home. */
  readonly directory: string;
  readonly environment: readonly string[];
}

interface Running {
  readonly session: ExecSession;
  /** Whose it is, and nobody else's. */
  readonly caller: Pick<MethodCall, "sender" | "connection">;
  readonly ended: Promise<number>;
  readonly unwatch: () => void;
}

/** Commands at a time. */
const CALLS_MAX = 1000;

/** Commands that callers of the bus run in machines. Who leaves the bus hangs up on them. */
export class ExecCalls {
  readonly #services: Services;
  readonly #running = new Map<number, Running>();
  #last = 0;

  constructor(services: Services) {
    this.#services = services;
  }

  /** Resolves when it runs, to its number. The fds stay the call's. */
  async begin(call: MethodCall, name: string, args: ExecArguments, fds: readonly number[]): Promise<number> {
    const { manager } = this.#services;
    const { argv, environment } = args;
    if (this.#running.size >= CALLS_MAX)
      throw new DBusError("LimitsExceeded", `${CALLS_MAX} commands are running already.`);
    if (argv.length === 0) throw invalid("A command is needed.");
    requireEnvironment(environment);
    const options = {
      ...{ argv, environment, user: args.user === "" ? undefined : args.user, term: undefined },
      directory: args.directory === "" ? undefined : args.directory,
      fds: payloadStdio(duplicateAll(fds)),
    };
    const session = manager.exec(name, options);
    const started = Promise.withResolvers<void>();
    const ended = session.run(started.resolve);
    ended.catch(started.reject);
    await started.promise;
    const id = ++this.#last;
    let gone = false;
    const leave = (): void => {
      gone = true;
      void session.hangUp();
      this.#running.delete(id);
    };
    try {
      // Until it has been waited for: one that has ended is remembered, and that has an end as well.
      const unwatch = await call.onGone(leave);
      if (!gone) this.#running.set(id, { session, caller: call, ended, unwatch });
      return id;
    } catch (error) {
      leave();
      throw error;
    }
  }

  signal(call: MethodCall, id: number, signal: number): void {
    if (signal < 1 || signal > 64) throw invalid(`Invalid signal ${signal}`);
    this.#of(call, id).session.signal(signal);
  }

  /** Resolves to its exit status, 128+N for a signal; once. */
  async wait(call: MethodCall, id: number): Promise<number> {
    const { ended, unwatch } = this.#of(call, id);
    try {
      return await ended;
    } finally {
      unwatch();
      this.#running.delete(id);
    }
  }

  #of(call: MethodCall, id: number): Running {
    const running = this.#running.get(id);
    // Another bus, or the same when it has been started anew, gives the same names to others.
    if (running?.caller.sender === call.sender && running.caller.connection === call.connection) return running;
    throw new DBusError("InvalidArgs", `No command ${id} of yours is running.`);
  }
}

/** All of them, or none. */
function duplicateAll(fds: readonly number[]): readonly number[] {
  const copies: number[] = [];
  try {
    for (const fd of fds) copies.push(duplicate(fd));
    return copies;
  } catch (error) {
    for (const fd of copies) closeQuietly(fd);
    throw error;
  }
}
