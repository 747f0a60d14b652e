import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import { findPaths, type Paths } from "../host/paths.ts";
import { readPublished } from "../manager/published.ts";
import { DaemonClient } from "./daemon-client.ts";
import { complain, INTERRUPTED } from "./output.ts";
import { showList } from "./show-list.ts";
import { FAILURE } from "./verb.ts";

/**
 * What is asked for most, with berthd there, in its plainest form: a list, a start, and what is to be said of a start, or a command in a
 * machine, that src/plain-client has asked for. It needs little of berth, and the rest takes 8 ms to load. Undefined: it is something else,
 * or can't be done so; nothing has been done then.
 */
export function quickly(argv: readonly string[]): number | undefined | Promise<number | undefined> {
  const [verb, ...words] = argv;
  if (verb === "list") return list(words, findPaths(process.env, INSTALLATION, undefined));
  if (verb === "start") return start((paths, { startPlainly }) => startPlainly(words, paths));
  // By src/plain-client, with a connection.
  if (!/^\d+$/.test(words[0] ?? "")) return undefined;
  if (verb === "start-begun") return start((paths, { goOn }) => goOn(words, paths));
  if (verb === "exec-answered") return answered(Number(words[0]), findPaths(process.env, INSTALLATION, undefined));
  return undefined;
}

function list(words: readonly string[], paths: Paths): number | undefined {
  const [option, ...more] = words;
  if ((option !== undefined && option !== "--json") || more.length > 0) return undefined;
  const machines = readPublished(paths);
  if (machines === null) return undefined;
  try {
    showList(machines, option !== undefined);
    return 0;
  } catch {
    return 0; // nobody reads it
  }
}

type Plainly = typeof import("./start-plainly.ts");

async function start(
  how: (paths: Paths, plainly: Plainly) => Promise<number | undefined>,
): Promise<number | undefined> {
  try {
    return await how(findPaths(process.env, INSTALLATION, undefined), await import("./start-plainly.ts"));
  } catch (error) {
    return failed(error, 1);
  }
}

/** Of a command, by src/plain-client/exec-client.c. */
async function answered(connection: number, paths: Paths): Promise<number> {
  try {
    return (await DaemonClient.takeOver(connection, 1, paths).answer<"exec">(1, {})).status;
  } catch (error) {
    return failed(error, FAILURE);
  }
}

/** `otherwise`: where the failure has no exit status of its own. */
function failed(error: unknown, otherwise: number): number {
  if (error instanceof Error && error.name === "AbortError") return INTERRUPTED;
  if (!(error instanceof BerthError)) throw error;
  complain(error.message, error.hint);
  return error.exitStatus === 1 ? otherwise : error.exitStatus;
}
