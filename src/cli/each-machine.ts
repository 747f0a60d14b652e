import { BerthError } from "../errors.ts";
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

/** The same, many at once. */
export async function allAtOnce(names: readonly string[], act: (name: string) => Promise<void>): Promise<number> {
  const left = new Set(names).values();
  const some = async (): Promise<number> => {
    let status = 0;
    for (const name of left) status = Math.max(status, await attempt(names.length > 1, name, act));
    return status;
  };
  return Math.max(...(await Promise.all(Array.from({ length: AT_ONCE }, some))));
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
