import { type CommandResult, runCommand } from "./command.ts";
import { VIEW_ENTER, VIEW_NAMESPACES, VIEW_PROGRAMS } from "./host-view.ts";

export interface ConfinedOptions {
  /** A directory, or a file: seen as /tree, all there is besides the host's programs, which can't be written to. */
  readonly directory: string;
  /** It is a file, or a block device. */
  readonly isFile?: "file" | "device";
  /** What is mounted there in place of the directory, the one on `/` first. */
  readonly mounts?: readonly ConfinedMount[];
  readonly writable: boolean;
  readonly signal: AbortSignal;
  readonly stdin?: number;
  readonly stdout?: number;
  readonly onLine?: (line: string) => void;
}

export interface ConfinedMount {
  readonly device: string;
  readonly type: string;
  readonly options: string;
  /** In /tree; no link on the way there is followed. */
  readonly target: string;
}

/**
 * Makes the view and takes the host away. Of mount(8) and its like because these are on every host; the three options that
 * look odd: `-c`, as the path of the working directory may lie under /mnt; `old/proc`, as umount(8) wants a mount table;
 * read-only only now, as the links are made in it before.
 */
const VIEW = `
set -eu
umask 022
mount -t tmpfs -o mode=0755,size=64k,nosuid,nodev,noexec berth-view /mnt
mkdir /mnt/old
if [ "$BERTH_SOURCE" = . ]; then mkdir /mnt/tree; else : >/mnt/tree; fi
${VIEW_PROGRAMS}
if [ -z "$BERTH_MOUNTS" ]; then mount -c -o "bind,nosuid,noexec,$BERTH_ACCESS" "$BERTH_SOURCE" /mnt/tree
else
  echo "$BERTH_MOUNTS" | while read -r type options device target; do
    place=/mnt/tree\${target%/}
    [ "$(realpath -- "$place")" != "$place" ] || mount -c -t "$type" -o "nosuid,nodev,noexec,$options" "$device" "$place"
  done
fi
ln -s old/proc /mnt/proc
mount -o remount,ro,nosuid,nodev,noexec berth-view /mnt
${VIEW_ENTER}
if [ -d /tree ]; then cd /tree; else cd /; fi
unset BERTH_ACCESS BERTH_SOURCE BERTH_MOUNTS
# Who parses what somebody else made needs no rights at all; who makes or reads files of all owners needs these.
as_nobody() {
  setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
}
# The same for a file that is root's alone, of which there is no other in the view.
as_reader() {
  setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all,+dac_read_search --inh-caps=-all,+dac_read_search \\
    --ambient-caps=-all,+dac_read_search --no-new-privs "$@"
}
with_capabilities() {
  capabilities=$1
  shift
  setpriv --bounding-set="-all,$capabilities" --inh-caps=-all --no-new-privs "$@"
}
`;

/**
 * Runs a script of programs that read what is not trusted: in namespaces of its own, where the file system is a read-only
 * view of the host's programs and one directory, no device can be opened, and there is no network and no other process.
 */
export function runConfined(
  script: string,
  words: readonly string[],
  { directory, isFile, mounts = [], writable, ...options }: ConfinedOptions,
): Promise<CommandResult> {
  return runCommand(
    "unshare",
    [...VIEW_NAMESPACES, "--net", "sh", "-c", `${VIEW}${script}`, "berth-transfer", ...words],
    {
      ...options,
      cwd: isFile === undefined ? directory : "/",
      env: {
        BERTH_ACCESS: `${writable ? "rw" : "ro"}${isFile === "device" ? "" : ",nodev"}`,
        BERTH_MOUNTS: mounts.map((each) => `${each.type} ${each.options} ${each.device} ${each.target}`).join("\n"),
        BERTH_SOURCE: isFile === undefined ? "." : directory,
      },
      pidNamespace: true,
    },
  );
}
