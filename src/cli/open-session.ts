import { UsageError } from "../errors.ts";
import { execIn } from "../machine/exec-in.ts";
import { findMachine } from "../machine/find-machine.ts";
import { type SessionRequest, sessionCommand } from "../machine/session.ts";
import { ProcessCaller } from "../supervise/caller.ts";
import { isTerminal } from "../supervise/caller-terminal.ts";
import type { Context } from "./verb.ts";

/** Opens a session in a running machine, on the caller's terminal. Resolves to its exit status. */
export async function openSession({ paths, env }: Context, name: string, request: SessionRequest): Promise<number> {
  if (!isTerminal(0))
    throw new UsageError(`${request.kind} needs a terminal`, `berth exec ${name} -- COMMAND does not`);
  const machine = findMachine(name, paths);
  const { argv, user, environment } = await sessionCommand(machine, request, paths);
  return execIn(machine, { argv, user, environment, terminal: true, caller: new ProcessCaller(), env }, paths);
}
