import type { Paths } from "../host/paths.ts";
import { type DaemonExec, execByDaemon } from "./exec-by-daemon.ts";

export interface CommandRequest extends DaemonExec {
  /** On a terminal of the machine's own. */
  readonly terminal: boolean;
  /** Aborted: what runs is hung up. */
  readonly abort?: AbortSignal;
}

/**
 * Runs a command in a machine with our stdin, stdout and stderr, and passes signals on; resolves to its exit status. By the
 * daemon, which is warm; where there is none, or a terminal is to be copied to or from, by ourselves.
 */
export async function execCommand(
  name: string,
  request: CommandRequest,
  { paths, env }: { readonly paths: Paths; readonly env: NodeJS.ProcessEnv },
): Promise<number> {
  const status = request.terminal ? undefined : await execByDaemon(name, request, paths, request.abort);
  if (status !== undefined) return status;
  const [{ execIn }, { findMachine }, { ProcessCaller }] = await Promise.all([
    import("../machine/exec-in.ts"),
    import("../machine/find-machine.ts"),
    import("../supervise/caller.ts"),
  ]);
  const caller = new ProcessCaller();
  return execIn(findMachine(name, paths), { ...request, caller, env }, paths);
}
