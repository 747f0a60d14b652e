import { openSync, readSync, writeSync } from "node:fs";
import { BerthError, errnoKind, errorCode } from "../errors.ts";
import { asSysError } from "../exec/launch-error.ts";
import { startTimeOf } from "../host/process-id.ts";
import { visible } from "../spec/quote.ts";
import { monotonic } from "../sys/clock.ts";
import { O_PATH } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { O_DIRECTORY } from "../sys/files.ts";
import { isReadable } from "../sys/poll.ts";
import { pidfdOpen, pidfdSendSignal } from "../sys/processes.ts";
import { AttributeReader } from "./attributes.ts";
import { findSource, findTarget, hostFinder, insideFinder } from "./ends.ts";
import { alreadyThere, type CopyWork } from "./files.ts";
import { PlacedError, showPath } from "./placed-error.ts";
import type { CopierMessage, CopyRequest } from "./protocol.ts";
import { entryOf, Rights, sidesOf } from "./side.ts";
import { TreeCopy } from "./tree.ts";

/** Between two looks at whether anybody still waits, and two words about how far it is. */
const LOOK_MS = 20;
const WORD_MS = 100;
/** Characters of a path in a message. */
const SHOWN = 400;
const REQUEST_MAX = 64 << 10;

/**
 * The process that copies: a daemon has other things to do meanwhile, may be killed while a machine's own file system
 * does not answer, and keeps its rights, which this one gives up. It ends when nobody waits for it any more, and
 * leaves no file that is not whole.
 */
export async function runCopier(): Promise<number> {
  process.umask(0);
  const request = readRequest();
  try {
    perform(request);
    return 0;
  } catch (error) {
    if (error instanceof Abandoned) return 1;
    say({ say: "failed", ...failureOf(error, request) });
    return 1;
  }
}

class Abandoned extends Error {}

function perform(request: CopyRequest): void {
  const { machine, range, direction, replace } = request;
  const leader = holdLeader(request);
  const root = entryOf(openSync(`/proc/${request.leader.pid}/root`, O_PATH | O_DIRECTORY));
  // Alive after it, so the pid was its own all the while.
  if (!pidfdSendSignal(leader, 0)) throw hasEnded(machine);
  const { host, inside } = sidesOf(new Rights(range), machine);
  const outside = hostFinder(host);
  const within = insideFinder(inside, root);
  const [from, to] = direction === "to" ? [outside, within] : [within, outside];
  const source = findSource(from, request.source);
  const { parent, name } = findTarget(to, request.target);
  const size = source.stat.isFile() ? Number(source.stat.size) : null;
  let [nextLook, nextWord] = [0, monotonic() + WORD_MS];
  const work: CopyWork = {
    source: from.side,
    target: to.side,
    attributes: new AttributeReader(range, direction),
    replace,
    onProgress: (counts) => {
      const now = monotonic();
      if (now < nextLook) return;
      nextLook = now + LOOK_MS;
      if (isReadable(0)) throw new Abandoned();
      if (isReadable(leader)) throw hasEnded(machine);
      if (now < nextWord) return;
      nextWord = now + WORD_MS;
      say({ say: "progress", counts, size });
    },
    onWarning: (path, why) => say({ say: "warning", text: `${showPath(path)}: ${why}` }),
  };
  const copy = new TreeCopy(work, parent);
  copy.copy(source, name);
  say({ say: "done", counts: copy.counts });
}

function holdLeader({ machine, leader }: CopyRequest): number {
  try {
    const pidfd = pidfdOpen(leader.pid);
    if (startTimeOf(leader.pid) === leader.startTime) return pidfd;
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
  throw hasEnded(machine);
}

function hasEnded(machine: string): BerthError {
  return new BerthError(`machine ${machine} has just ended`, { kind: "NoSuchMachine" });
}

function readRequest(): CopyRequest {
  const bytes = Buffer.alloc(REQUEST_MAX);
  let length = 0;
  while (bytes.indexOf("\n") < 0) {
    const count = readSync(0, bytes, length, bytes.length - length, null);
    if (count === 0) throw new BerthError("this is a part of copy-to and copy-from, and no verb of its own");
    length += count;
  }
  return JSON.parse(bytes.toString("utf8", 0, bytes.indexOf("\n")));
}

function say(message: CopierMessage): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

function failureOf(error: unknown, request: CopyRequest): Omit<Extract<CopierMessage, { say: "failed" }>, "say"> {
  const cause = translated(error instanceof PlacedError ? error.cause : error, request);
  // What is said of a place in what is copied, and of the whole.
  const rest = error instanceof PlacedError ? error.path.slice(request.target === "/" ? 0 : 1) : [];
  const place = [request.source.replace(/(?<=.)\/+$/, ""), ...(rest.length > 0 ? [showPath(rest)] : [])].join("/");
  const where = request.direction === "from" ? ` of machine ${request.machine}` : "";
  const isWhole = /^there is no |^machine /.test(cause.message);
  return {
    message: isWhole ? cause.message : `copying "${ending(place)}"${where}: ${cause.message}`,
    hint: cause.hint ?? null,
    kind: cause.kind ?? errnoKind(error instanceof PlacedError ? error.cause : error) ?? null,
  };
}

/** The end of a long path tells more than its beginning. */
function ending(path: string): string {
  return visible(path.length > SHOWN ? `…${path.slice(-SHOWN)}` : path);
}

function translated(error: unknown, { machine, direction }: CopyRequest): BerthError {
  const cause = error instanceof BerthError ? error : asSysError("", error, "");
  if (!(cause instanceof SysError)) return cause;
  const target = direction === "to" ? `in machine ${machine}` : "on the host";
  const said = (what: string, hint?: string): BerthError => new BerthError(what, { hint, cause });
  switch (cause.code) {
    case "EEXIST":
      return alreadyThere();
    case "ENOSPC":
    case "EDQUOT":
      return said(`there is no space left for it ${target} (${cause.code})`);
    case "EROFS":
      return said(`where it is to go ${target} is read-only`);
    case "EISDIR":
      return said("there is a directory of that name already");
    case "EOVERFLOW":
      return said(`where it is to go ${target} can't have files of this owner (${cause.message})`);
    case "EACCES":
    case "EPERM":
      return said(
        cause.message,
        `in the machine, files of users that it does not know are not even its root's to change`,
      );
    default:
      return cause;
  }
}
