import { INSTALLATION } from "../host/installation.ts";
import { findPaths, type Paths } from "../host/paths.ts";
import { readPublished } from "../manager/published.ts";
import { answered } from "./answered.ts";
import { showList } from "./show-list.ts";

/**
 * What needs little of berth, as the rest takes 8 ms to load: a list of what berthd publishes, and what is to be said of a command or start by
 * src/plain-client. Returns the exit status; undefined: it is something else, or can't be done so; nothing has been done then.
 */
export function quickly([verb, ...words]: readonly string[]): number | undefined {
  if (verb === "list") return list(words, findPaths(process.env, INSTALLATION, undefined));
  if (verb === "answered") return answered(words);
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
