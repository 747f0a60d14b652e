import { DBusError } from "../bus/dbus-error.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { ExecSession } from "../manager/exec-session.ts";
import { payloadStdio } from "../manager/take-stdio.ts";
import { duplicate } from "../sys/files.ts";
import { invalid } from "./access.ts";
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
  /** Of whoever began it: it is nobody else's. */
  readonly owner: string;
  readonly ended: Promise<number>;
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
    const { manager, paths } = this.#services;
    const { argv, environment } = args;
    if (this.#running.size >= CALLS_MAX)
      throw new DBusError("LimitsExceeded", `${CALLS_MAX} commands are running already.`);
    if (argv.length === 0) throw invalid("A command is needed.");
    if (!environment.every((each) => /^[A-Za-z_][A-Za-z0-9_]*=/.test(each))) throw invalid("Invalid environment.");
    const options = {
      ...{ argv, environment, user: args.user === "" ? undefined : args.user, term: undefined },
      directory: args.directory === "" ? undefined : args.directory,
      fds: payloadStdio(fds.map((fd) => duplicate(fd))),
    };
    const session = new ExecSession(manager.record(name), options, paths, () => undefined);
    const started = Promise.withResolvers<void>();
    const ended = session.run(started.resolve);
    ended.catch(started.reject);
    await started.promise;
    const id = ++this.#last;
    this.#running.set(id, { session, owner: call.sender, ended });
    const unwatch = await call.onGone(() => {
      void session.hangUp();
      void ended.finally(() => this.#running.delete(id)).catch(() => undefined);
    });
    void ended.finally(unwatch).catch(() => undefined);
    return id;
  }

  signal(call: MethodCall, id: number, signal: number): void {
    if (signal < 1 || signal > 64) throw invalid(`Invalid signal ${signal}`);
    this.#of(call, id).session.signal(signal);
  }

  /** Resolves to its exit status, 128+N for a signal; once. */
  async wait(call: MethodCall, id: number): Promise<number> {
    const { ended } = this.#of(call, id);
    try {
      return await ended;
    } finally {
      this.#running.delete(id);
    }
  }

  #of(call: MethodCall, id: number): Running {
    const running = this.#running.get(id);
    if (running?.owner === call.sender) return running;
    throw new DBusError("InvalidArgs", `No command ${id} of yours is running.`);
  }
}
