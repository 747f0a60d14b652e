import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import { findPaths, type Paths } from "../host/paths.ts";
import { readPublished } from "../manager/published.ts";
import { execByDaemon } from "./exec-by-daemon.ts";
import { complain, INTERRUPTED } from "./output.ts";
import { showList } from "./show-list.ts";
import { FAILURE } from "./verb.ts";

/**
 * What is asked for most, with berthd there, in its plainest form: a list, a start, and a command in a machine. It needs little of
 * berth, and the rest takes 8 ms to load. Undefined: it is something else, or can't be done so; nothing has been done then.
 */
export function quickly(argv: readonly string[]): number | undefined | Promise<number | undefined> {
  const [verb, ...words] = argv;
  if (verb === "list") return list(words, findPaths(process.env, INSTALLATION, undefined));
  if (verb === "exec") return exec(words, findPaths(process.env, INSTALLATION, undefined));
  if (verb === "start") return start(words, findPaths(process.env, INSTALLATION, undefined));
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

async function exec([name = "", ...words]: readonly string[], paths: Paths): Promise<number | undefined> {
  const argv = words[0] === "--" ? words.slice(1) : words;
  const plain = /^[A-Za-z0-9]/.test(name) && argv[0] !== undefined && !argv[0].startsWith("-");
  // What is no UTF-8 is for the others to refuse.
  if (!plain || words.some((word) => word.includes("\uFFFD"))) return undefined;
  try {
    return await execByDaemon(name, { argv, user: undefined, directory: undefined, environment: [] }, paths);
  } catch (error) {
    return failed(error, FAILURE);
  }
}

async function start(names: readonly string[], paths: Paths): Promise<number | undefined> {
  try {
    return await (await import("./start-plainly.ts")).startPlainly(names, paths);
  } catch (error) {
    return failed(error, 1);
  }
}

/** `otherwise`: where the failure has no exit status of its own. */
function failed(error: unknown, otherwise: number): number {
  if (error instanceof Error && error.name === "AbortError") return INTERRUPTED;
  if (!(error instanceof BerthError)) throw error;
  complain(error.message, error.hint);
  return error.exitStatus === 1 ? otherwise : error.exitStatus;
}
