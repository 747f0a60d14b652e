import { UsageError } from "../errors.ts";
import { execIn } from "../machine/exec-in.ts";
import { findMachine } from "../machine/find-machine.ts";
import { type SessionRequest, sessionCommand } from "../machine/session.ts";
import { ProcessCaller } from "../supervise/caller.ts";
import { isTerminal } from "../supervise/caller-terminal.ts";
import type { Context } from "./verb.ts";

/**
 * Opens a session in a running machine, on the caller's terminal. A shell's may be without one: what comes on stdin is typed
 * then, its end too. Resolves to its exit status.
 */
export async function openSession({ paths, env }: Context, name: string, request: SessionRequest): Promise<number> {
  const typed = !isTerminal(0);
  if (typed && request.kind === "login")
    throw new UsageError(`${request.kind} needs a terminal`, `berth exec ${name} -- COMMAND does not`);
  const machine = findMachine(name, paths);
  const { argv, user, environment, begins } = await sessionCommand(machine, { ...request, typed }, paths);
  const more = typed ? { begins, env: { ...env, TERM: "dumb" } } : { env };
  return execIn(machine, { argv, user, environment, terminal: true, caller: new ProcessCaller(), ...more }, paths);
}
