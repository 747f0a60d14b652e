import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { isBelow, isReadOnly, mountOf, parseMountinfo } from "../host/mountinfo.ts";
import { BUSY_BLOCK } from "../plan/id-blocks.ts";
import { visible } from "../spec/quote.ts";
import { monotonic } from "../sys/clock.ts";
import { O_PATH } from "../sys/constants.ts";
import { SysError } from "../sys/errno.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { changeOwner, openEntry } from "../sys/owners.ts";
import { asSysError } from "./launch-error.ts";
import { moveOwner, ownerIn } from "./move-owner.ts";

export interface ChownOptions {
  /** For the user, one line each: it takes longer than anybody would wait for without a word. */
  readonly say: (line: string) => void;
  /** Called now and then; what it throws ends the work, which the next start goes on with. */
  readonly mayGoOn: () => void;
}

/** A directory whose entries are still to be done. */
interface Open {
  readonly name: string;
  readonly fd: number;
  readonly names: Buffer[];
}

/** Files between two looks at the clock and at everything else that this process has to do. */
const AT_ONCE = 256;
const FIRST_WORD_MS = 2000;
const NEXT_WORD_MS = 5000;
/** Each directory on the way is open. A path can't be so deep, whatever is in the tree. */
const DEEPEST = 2048;

/**
 * Moves all owners of a tree, with those in ACLs and capabilities, to the block of ids from `base` on. Its root directory
 * is marked at the beginning and done at the end, as systemd-nspawn does it: so a tree whose root is right is right, and
 * one that was left halfway is told by both and gone on with. Nothing is looked for by path and no link is followed.
 *
 * @throws BerthError naming the file; what is done stays done
 */
export async function chownTree(path: string, base: number, options: ChownOptions): Promise<void> {
  const root = openSync(path, O_PATH | O_DIRECTORY);
  const stack: Open[] = [];
  try {
    refuseMounts(root, path);
    markBusy(root, path);
    stack.push({ name: path, fd: root, names: entriesOf(root) });
    await walk(stack, base, options);
    moveOwner(root, base);
  } catch (error) {
    throw failure(stack, path, error);
  } finally {
    for (const { fd } of stack) if (fd !== root) closeQuietly(fd);
    closeSync(root);
  }
}

async function walk(stack: Open[], base: number, { say, mayGoOn }: ChownOptions): Promise<void> {
  const [root] = stack;
  let done = 0;
  let nextWord = monotonic() + FIRST_WORD_MS;
  for (let open = stack.at(-1); open !== undefined; open = stack.at(-1)) {
    if (++done % AT_ONCE === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      mayGoOn();
      if (monotonic() > nextWord) {
        say(`changing owners in ${visible(root?.name ?? "")}: ${done} files so far`);
        nextWord = monotonic() + NEXT_WORD_MS;
      }
    }
    const name = open.names.pop();
    if (name === undefined) {
      stack.pop();
      if (open !== root) closeSync(open.fd);
    } else enter(stack, open, name, base);
  }
}

/** One entry; a directory's own entries come next. */
function enter(stack: Open[], { fd: directory }: Open, name: Buffer, base: number): void {
  const fd = openEntry(directory, name);
  if (fd === null) return;
  const entry: Open = { name: name.toString("utf8"), fd, names: [] };
  stack.push(entry);
  if (stack.length > DEEPEST) throw new BerthError(`directories are nested more than ${DEEPEST} deep`);
  if (moveOwner(fd, base).isDirectory()) entry.names.push(...entriesOf(fd));
}

function entriesOf(fd: number): Buffer[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" });
}

function markBusy(root: number, path: string): void {
  const { uid, gid } = fstatSync(root);
  try {
    changeOwner(root, ownerIn(BUSY_BLOCK, uid), ownerIn(BUSY_BLOCK, gid));
  } catch (error) {
    throw asSysError("fchownat", error, path);
  }
}

/** What is mounted there belongs to somebody else: /home of the host, say. */
function refuseMounts(root: number, path: string): void {
  const real = readlinkSync(`/proc/self/fd/${root}`);
  const mounts = parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
  const mount = mountOf(mounts, real);
  if (mount !== null && isReadOnly(mount))
    throw new BerthError(`${path} is on a read-only file system, so no owner in it can be changed`, {
      hint: "PrivateUsersOwnership=map changes nothing on disk",
    });
  const below = mounts.find(({ point }) => isBelow(point, real));
  if (below === undefined) return;
  throw new BerthError(`${below.point} is mounted below ${path}: its owners would be changed, too`, {
    hint: "unmount it, or use PrivateUsersOwnership=map, which changes nothing on disk",
  });
}

function failure(stack: readonly Open[], path: string, error: unknown): BerthError {
  if (error instanceof BerthError && !(error instanceof SysError)) return error;
  const place = [path, ...stack.slice(1).map(({ name }) => name)].join("/");
  const cause = asSysError("", error, place);
  const what =
    cause instanceof SysError && !cause.message.includes(place) ? `${cause.message} (${place})` : cause.message;
  return new BerthError(visible(what), {
    hint: "the next start with PrivateUsersOwnership=chown goes on with what is left",
    cause: error,
  });
}
