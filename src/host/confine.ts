import { type CommandResult, runCommand } from "./command.ts";
import { VIEW_ENTER, VIEW_NAMESPACES, VIEW_PROGRAMS } from "./host-view.ts";

export interface ConfinedOptions {
  /** A directory, or a file: seen as /tree, all there is besides the host's programs, which can't be written to. */
  readonly directory: string;
  /** It is a file, or a block device. */
  readonly isFile?: "file" | "device";
  /** What is mounted there in place of the directory, the one on `/` first. */
  readonly mounts?: readonly ConfinedMount[];
  /** Or these below it, laid over each other, the topmost first: to be read only. */
  readonly layers?: readonly string[] | undefined;
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
directories=/mnt/old links=old/proc
if [ "$BERTH_SOURCE" = . ]; then directories="$directories /mnt/tree"; else : >/mnt/tree; fi
${VIEW_PROGRAMS}
if [ -z "$BERTH_MOUNTS" ] && [ "$BERTH_LAYERS" -eq 0 ]; then mount -c -o "bind,nosuid,noexec,$BERTH_ACCESS" "$BERTH_SOURCE" /mnt/tree
elif [ "$BERTH_LAYERS" -gt 0 ]; then
  names= number=0
  while [ "$number" -lt "$BERTH_LAYERS" ]; do
    mkdir -p "/mnt/layers/$number"
    mount -c -o bind,ro,nosuid,nodev,noexec "./$1" "/mnt/layers/$number"
    names="$names\${names:+:}$number"
    number=$((number + 1))
    shift
  done
  cd /mnt/layers
  if [ "$number" -eq 1 ]; then mount -c -o bind 0 /mnt/tree
  else mount -t overlay -o "ro,nosuid,nodev,noexec,userxattr,index=off,lowerdir=$names" berth-tree /mnt/tree
  fi
  # An overlay has mounts of its own of its layers.
  for name in *; do umount "$name"; done
else
  echo "$BERTH_MOUNTS" | while read -r type options device target; do
    place=/mnt/tree\${target%/}
    [ "$(realpath -- "$place")" != "$place" ] || mount -c -t "$type" -o "nosuid,nodev,noexec,$options" "$device" "$place"
  done
fi
cd /
mount -o remount,ro,nosuid,nodev,noexec berth-view /mnt
${VIEW_ENTER}
if [ -d /tree ]; then cd /tree; else cd /; fi
unset BERTH_ACCESS BERTH_SOURCE BERTH_MOUNTS BERTH_LAYERS
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
  { directory, isFile, mounts = [], layers = [], writable, ...options }: ConfinedOptions,
): Promise<CommandResult> {
  return runCommand(
    "unshare",
    [...VIEW_NAMESPACES, "--net", "sh", "-c", `${VIEW}${script}`, "berth-transfer", ...layers, ...words],
    {
      ...options,
      cwd: isFile === undefined ? directory : "/",
      env: {
        BERTH_ACCESS: `${writable ? "rw" : "ro"}${isFile === "device" ? "" : ",nodev"}`,
        BERTH_MOUNTS: mounts.map((each) => `${each.type} ${each.options} ${each.device} ${each.target}`).join("\n"),
        BERTH_LAYERS: `${layers.length}`,
        BERTH_SOURCE: isFile === undefined ? "." : directory,
      },
      pidNamespace: true,
    },
  );
}
