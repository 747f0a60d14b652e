import { type CommandResult, runCommand } from "./command.ts";

export interface ConfinedOptions {
  /** A directory, or a file: seen as /tree, all there is besides the host's programs, which can't be written to. */
  readonly directory: string;
  /** It is a file, or a block device. */
  readonly isFile?: "file" | "device";
  readonly writable: boolean;
  readonly signal: AbortSignal;
  readonly stdin?: number;
  readonly stdout?: number;
  readonly onLine?: (line: string) => void;
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
mkdir /mnt/usr /mnt/old
if [ "$BERTH_SOURCE" = . ]; then mkdir /mnt/tree; else : >/mnt/tree; fi
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then cp -P "/$name" "/mnt/$name"
  elif [ -d "/$name" ]; then mkdir "/mnt/$name"; mount -o bind,ro,nosuid,nodev "/$name" "/mnt/$name"
  fi
done
mount -o bind,ro,nosuid,nodev /usr /mnt/usr
mount -c -o "bind,nosuid,noexec,$BERTH_ACCESS" "$BERTH_SOURCE" /mnt/tree
cd /mnt
ln -s old/proc proc
mount -o remount,ro,nosuid,nodev,noexec berth-view /mnt
pivot_root . old
umount -l /old
if [ -d /tree ]; then cd /tree; else cd /; fi
unset BERTH_ACCESS BERTH_SOURCE
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

/** All but user namespaces: root has to give files to every owner. Its init is the shell, whose end ends all. */
const NAMESPACES = "--mount --propagation private --pid --fork --kill-child --net --ipc --uts".split(" ");

/**
 * Runs a script of programs that read what is not trusted: in namespaces of its own, where the file system is a read-only
 * view of the host's programs and one directory, no device can be opened, and there is no network and no other process.
 */
export function runConfined(
  script: string,
  words: readonly string[],
  { directory, isFile, writable, ...options }: ConfinedOptions,
): Promise<CommandResult> {
  return runCommand("unshare", [...NAMESPACES, "sh", "-c", `${VIEW}${script}`, "berth-transfer", ...words], {
    ...options,
    cwd: isFile === undefined ? directory : "/",
    env: {
      BERTH_ACCESS: `${writable ? "rw" : "ro"}${isFile === "device" ? "" : ",nodev"}`,
      BERTH_SOURCE: isFile === undefined ? "." : directory,
    },
    pidNamespace: true,
  });
}
