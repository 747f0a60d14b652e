import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, dirname } from "node:path";
import { BerthError } from "../errors.ts";
import { type CommandOptions, type CommandResult, runCommand } from "../host/command.ts";
import { VIEW_NAMESPACES } from "../host/host-view.ts";
import { CopyBound } from "./copy-bound.ts";
import { DividedTree, PartLists } from "./copy-parts.ts";
import { CopyProgress } from "./copy-progress.ts";
import { isLocalAt } from "./file-systems.ts";
import { weighTree } from "./weigh-tree.ts";

/**
 * cp(1) in a mount namespace of its own, whose root has the tree that is to be copied, and files of the host that cp itself needs, as
 * copies. A machine may run from the tree, and cp goes by names: of a directory that becomes a link while it is in it, it copies
 * what that leads to. Here a link leads to nothing but the tree and cp. Arguments: the name of the copy in $TARGET, then options
 * of cp; the tree is the working directory.
 *
 * What lies nowhere on this host (a mount that is attached nowhere, a directory of another mount namespace) can't be mounted
 * anew: it stays the working directory.
 *
 * When all is there it reads how many parts there are: none, or one cp each, of the names that fd 3 and those after it have; and
 * whether the tree has directories that their owner may not write to, such as /root of Fedora. For the mode of such a one the C library
 * needs /proc/self/fd; of /proc there is that alone then, of the one cp that sees it, and the copy is at a path. Else no path leads there.
 */
const COPY = `
set -eu
# What fails before any cp copies is no file that has gone meanwhile.
trap 'exit 2' EXIT
exec 9<"$TARGET"
mount -t tmpfs -o mode=0755,size=64m,nosuid,nodev berth-copy /mnt
# Where programs look for something no tree may be.
mkdir -p /mnt/.berth-host /mnt/.berth-to /mnt/dev /mnt/etc /mnt/bin /mnt/sbin /mnt/lib /mnt/lib64 /mnt/usr /mnt/proc/self/fd
# What a shell opens for what runs beside it, and umount(8), which finds nothing there.
: >/mnt/dev/null
: >/mnt/proc/self/mountinfo
files=
add() { case " $files " in *" $1 "*) ;; *) files="$files $1" ;; esac; }
for program in cp xargs umount; do
  IFS=:
  for directory in $PATH; do [ ! -x "$directory/$program" ] || break; done
  unset IFS
  [ -x "$directory/$program" ] || { echo "there is no $program" >&2; exit; }
  add "$directory/$program"
  # What the loader would load is said, and nothing run; one that needs nothing complains of its arguments.
  for word in $(LD_TRACE_LOADED_OBJECTS=1 "$directory/$program" 2>/dev/null); do
    case $word in /*) add "$word" ;; esac
  done
done
cp -L --parents $files /mnt
name=$1
shift
tree=.
if [ ! -e "/mnt/$name" ] && mkdir "/mnt/$name" && mount -c -o rbind . "/mnt/$name" 2>/dev/null; then
  tree=/$name
  cd /proc/self/fd/9
fi
unset TARGET
# Becomes a cp that has /proc/self/fd. Arguments: the tree if it is the working directory, then those of cp.
own='
set -eu
trap "exit 255" EXIT
tree=$1
shift
read -r pid rest </proc/self/stat
# An fd of another mount namespace can not be mounted, its working directory can.
if [ "$tree" = . ]; then to=/proc/self/fd/9; else to=.; fi
mount -c -o bind,nosuid,noexec,nodev "$to" /mnt/.berth-to
exec 9<&-
mount -c -o bind,ro,nosuid,noexec,nodev "/proc/$pid/fd" /mnt/proc/self/fd
pivot_root /mnt /mnt/.berth-host
umount -l /.berth-host
[ "$tree" = . ] || cd /.berth-to
trap - EXIT
exec cp "$@"'
read -r parts shut
if [ "$tree" = . ] || [ "$parts" -eq 0 ]; then exec sh -c "$own" berth-copy "$tree" "$@" -T -- "$tree" "/.berth-to/$name"; fi
if [ "$shut" = no ]; then
  exec 9<&-
  pivot_root /mnt /mnt/.berth-host
  umount -l /.berth-host
fi
trap - EXIT
part() {
  if [ "$shut" = no ]; then xargs -0 cp "$@"
  else xargs -0 unshare --mount --propagation private sh -c "$own" berth-copy "$tree" "$@"
  fi
}
# Each says a line in pieces: whole ones go on, and how it ended.
told() {
  status=0
  while IFS= read -r line; do
    case $line in
      "ended "*) status=\${line#ended } ;;
      *)
        # Of a very long one its ends, so that it is written at once.
        if [ "\${#line}" -lt 4000 ]; then printf '%s\\n' "$line" >&2
        else printf '%.3000s...%.900s\\n' "$line" "\${line##*\\'}" >&2
        fi
        ;;
    esac
  done
  return "$status"
}
exec 8>&1
fd=3 running=
while [ "$fd" -lt $((3 + parts)) ]; do
  { part "$@" --parents -t . -- <&$fd 2>&1 >&8 || echo "ended $?"; } | told &
  running="$running $!"
  fd=$((fd + 1))
done
status=0
for each in $running; do wait "$each" || status=$?; done
exit "$status"
`;

/** Parts at most: a shell has fds of one digit only, of which the view needs two. */
const PARTS_MAX = 5;
/** What one cp(1) has copied before another one has begun. */
const SMALL = 1000;

/** How far a copy is, 0 to 1; only grows. */
export type OnCopied = (fraction: number) => void;

export interface CopyTreeOptions {
  /** Without what is mounted in the tree. */
  readonly oneFileSystem?: boolean;
  readonly progress?: OnCopied | undefined;
}

/**
 * Copies a tree to a path that does not exist: owners, modes, times, hard links, holes, ACLs and extended attributes
 * (security.capability of ping) included; shares the blocks where the file system can (btrfs, xfs).
 *
 * By as many cp(1) at a time as there are cores, each of which copies a part of it: what that takes, and what else was tried,
 * is in test/bench/RESULTS.md. While the view is made the tree is weighed, for parts that are equal.
 */
export async function copyTree(
  from: string,
  to: string,
  signal: AbortSignal,
  options: CopyTreeOptions = {},
): Promise<void> {
  const found = await stat(from);
  if (found.isDirectory()) return copyDirectory(from, to, signal, options);
  using shown = new CopyProgress(to, options.progress);
  shown.expectFile(found.blocks);
  await checked(from, to, signal, (watch) => runCommand("cp", [...WORDS, "-T", "--", from, to], watch));
  shown.end();
}

const WORDS = ["-a", "--reflink=auto"];

async function copyDirectory(
  from: string,
  to: string,
  signal: AbortSignal,
  { oneFileSystem = false, progress }: CopyTreeOptions,
): Promise<void> {
  const cores = Math.min(PARTS_MAX, availableParallelism());
  const more = [...(oneFileSystem ? ["--one-file-system"] : []), ...(progress === undefined ? [] : ["-v"])];
  const words = [basename(to), ...WORDS, ...more];
  using shown = new CopyProgress(to, progress);
  await using bound = new CopyBound(from, to);
  using lists = new PartLists(cores);
  using opened = new DisposableStack();
  /** Null: it stays in one piece. */
  const divide = async (either: AbortSignal): Promise<DividedTree | null> => {
    if (!(await isLocalAt(from))) return null;
    const weights = await weighTree(from, either, oneFileSystem);
    shown.expect(weights);
    bound.expect(weights);
    if (cores === 1 || weights === null || weights.total < SMALL) return null;
    const tree = await DividedTree.of(from, to, weights, cores);
    if (tree === null) return null;
    lists.fill(opened.use(tree).parts);
    return tree;
  };
  let division: Promise<DividedTree | null> = Promise.resolve(null);
  await checked(from, to, AbortSignal.any([signal, bound.signal]), async (watch) => {
    division = divide(watch.signal);
    const copying = runCommand("unshare", [...VIEW_NAMESPACES, "sh", "-c", COPY, "berth-copy", ...words], {
      ...watch,
      ...{ cwd: from, env: { TARGET: dirname(to) }, pidNamespace: true, fds: lists.fds },
      input: division.then((tree) => `${tree?.parts.length ?? 0} ${tree?.hasShut === false ? "no" : "yes"}\n`),
      onOutput: (chunk) => shown.take(chunk),
    });
    // Both have ended then, whichever failed.
    const [divided, copied] = await Promise.allSettled([division, copying]);
    if (divided.status === "rejected") throw divided.reason;
    if (copied.status === "rejected") throw copied.reason;
    return copied.value;
  });
  (await division)?.finish();
  shown.end();
}

type Watch = Required<Pick<CommandOptions, "signal" | "onLine" | "lineMax">>;

/**
 * Runs cp(1), one or several: what one of them can't do ends all, but what a machine has removed meanwhile is none of its faults.
 * @throws BerthError; the signal's reason if that was aborted
 */
async function checked(
  from: string,
  to: string,
  signal: AbortSignal,
  run: (watch: Watch) => Promise<CommandResult>,
): Promise<void> {
  const failed = new AbortController();
  const faultOf = (status: string, line: string): BerthError =>
    new BerthError(`cannot copy the tree ${from}: cp ${status}: ${shortened(line)}`, {
      // Of the store: the workspace in it that the copy was made in is gone by the time this is read.
      hint: line.includes("No space left on device")
        ? `make room on the file system of ${dirname(dirname(to))}`
        : undefined,
    });
  let fault: string | undefined;
  const onLine = (line: string): void => {
    if (GONE.test(line) && !ALL_GONE.test(line)) return;
    fault ??= line;
    if (FAULT.test(line)) failed.abort(faultOf("failed", line));
  };
  const { ok, status } = await run({ signal: AbortSignal.any([signal, failed.signal]), onLine, lineMax: LINE_MAX });
  if (ok || (PARTLY.has(status) && fault === undefined)) return;
  throw faultOf(status, fault ?? "");
}

function shortened(line: string): string {
  return line.length <= SHOWN ? line : `${line.slice(0, SHOWN / 2)}...${line.slice(-SHOWN / 2)}`;
}

/** What cp(1) says of files that a running machine removed or replaced meanwhile: the copy is of a moment without them. */
const GONE = new RegExp(
  `^cp: (${[
    "(?!cannot create).*: (No such file or directory|Not a directory)",
    "skipping file .*, as it was replaced while being copied",
    "cannot read symbolic link .*: Invalid argument",
    "(cannot (open|access|stat)|failed to get attributes of) .*: Too many levels of symbolic links",
    // It has been moved since it was copied: the copy has it where it was.
    "will not create hard link .* to directory .*",
  ].join("|")})$`,
);
/** Of the tree itself, by the names that it has for cp(1). */
const ALL_GONE = /^cp: cannot stat '?(\.|\/[^/]*)'?:/;
/** Other programs may say what is no fault. */
const FAULT = /^(cp|xargs): (?!warning: )/;
/** Of cp(1), and of xargs(1) when that ended so. */
const PARTLY = new Set(["ended with status 1", "ended with status 123"]);
const SHOWN = 240;
/** What is wrong stands at its end, behind up to two paths, of which a shell's quoting makes four times as much. */
const LINE_MAX = 2 * 4 * 4096 + 256;
