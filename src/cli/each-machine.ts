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

/** The same, all at once. */
export async function allAtOnce(names: readonly string[], act: (name: string) => Promise<void>): Promise<number> {
  const statuses = [...new Set(names)].map((name) => attempt(names.length > 1, name, act));
  return Math.max(...(await Promise.all(statuses)));
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
