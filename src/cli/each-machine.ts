import { BerthError } from "../errors.ts";
import { DaemonGone } from "./daemon-client.ts";
import { complain } from "./output.ts";

/**
 * Does something for each of several machines, one after the other, and goes on with the others where it fails: what
 * went wrong is said when it does. Resolves to the exit status. For a single machine its failure is the verb's.
 */
export async function oneByOne(names: readonly string[], act: (name: string) => Promise<void>): Promise<number> {
  let status = 0;
  for (const name of new Set(names)) status = Math.max(status, await attempt(names.length > 1, name, act));
  return status;
}

/** berthd works on 256 requests of a client (src/daemon/client-connection.ts). */
const AT_ONCE = 200;

/** The same, many at once. Of which a daemon that has gone did not answer is said together. */
export async function allAtOnce(names: readonly string[], act: (name: string) => Promise<void>): Promise<number> {
  const left = new Set(names).values();
  const unanswered: string[] = [];
  const actOn = async (name: string): Promise<void> => {
    try {
      await act(name);
    } catch (error) {
      if (names.length === 1 || !(error instanceof DaemonGone)) throw error;
      unanswered.push(name);
    }
  };
  const some = async (): Promise<number> => {
    let status = 0;
    for (const name of left) status = Math.max(status, await attempt(names.length > 1, name, actOn));
    return status;
  };
  const status = Math.max(...(await Promise.all(Array.from({ length: AT_ONCE }, some))));
  if (unanswered.length === 0) return status;
  const { message, hint, exitStatus } = new DaemonGone();
  complain(`${message}: it is not known what came of ${unanswered.join(", ")}`, hint);
  return Math.max(status, exitStatus);
}

async function attempt(goOn: boolean, name: string, act: (name: string) => Promise<void>): Promise<number> {
  try {
    await act(name);
    return 0;
  } catch (error) {
    // Anything else, a ^C above all, is not about one of them.
    if (!goOn || !(error instanceof BerthError)) throw error;
    complain(error.message, error.hint);
    return error.exitStatus;
  }
}
