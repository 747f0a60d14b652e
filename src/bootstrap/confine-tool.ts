import { type CommandResult, runCommand } from "../host/command.ts";
import type { ToolCommand } from "./package-tool.ts";

export interface ToolViewOptions {
  /** Holds `tree/` and `tool/`, which the command sees as /tree and /tool. */
  readonly directory: string;
  readonly may: ToolCommand["may"];
  readonly signal: AbortSignal;
  readonly onLine?: (line: string) => void;
}

/** What of the host's /etc programs need to reach the network and to know its certificates: no secret is in it. */
const ETC_FILES =
  "gai.conf group host.conf hosts ld.so.cache localtime nsswitch.conf passwd protocols resolv.conf services ssl/openssl.cnf";
const ETC_DIRECTORIES = "alternatives crypto-policies apt/trusted.gpg.d pki/ca-trust pki/tls/certs ssl/certs";

/** All that can be opened: none holds data, none does anything. */
const DEVICES = "null zero full random urandom";

/** To own, change and label any file, run as any user, and make a directory the root: no right over the host, or a device. */
const CAPABILITIES = "-all,+chown,+dac_override,+fowner,+fsetid,+setfcap,+setuid,+setgid,+sys_chroot,+kill";

/** All but user namespaces: root has to give files to every owner. Its init is the shell, whose end ends all. */
const NAMESPACES = "--mount --propagation private --pid --fork --kill-child --ipc --uts --cgroup".split(" ");

/**
 * The view: the host's programs, copies of some files of its /etc, five devices, a /proc that can't be written to, and two
 * directories. What follows is the script's own, with rights still; `confined` runs programs without.
 */
const VIEW = `
set -eu
umask 022
mount -t tmpfs -o mode=0755,size=64m,nosuid,nodev berth-view /mnt
for name in dev dev/shm etc old proc root run tmp tool tree var var/cache var/lib var/log var/tmp; do
  mkdir "/mnt/$name"
done
chmod 1777 /mnt/dev/shm
for name in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then cp -P "/$name" /mnt/
  elif [ -d "/$name" ]; then mkdir "/mnt/$name"; mount -o bind,ro,nosuid,nodev "/$name" "/mnt/$name"
  fi
done
for name in ${ETC_FILES}; do
  [ -f "/etc/$name" ] || continue
  mkdir -p "$(dirname "/mnt/etc/$name")"
  cp -L "/etc/$name" "/mnt/etc/$name"
done
for name in ${ETC_DIRECTORIES}; do
  [ -d "/etc/$name" ] || continue
  mkdir -p "/mnt/etc/$name"
  cp -a "/etc/$name/." "/mnt/etc/$name/"
done
make_devices() {
  for name in ${DEVICES}; do
    : >"$1/$name"
    mount -o bind "/dev/$name" "$1/$name"
  done
}
make_devices /mnt/dev
ln -s /proc/self/fd /mnt/dev/fd
ln -s fd/0 /mnt/dev/stdin
ln -s fd/1 /mnt/dev/stdout
ln -s fd/2 /mnt/dev/stderr
mount -t proc -o ro,nosuid,nodev,noexec proc /mnt/proc
# What of it tells about the whole host.
for name in kcore keys key-users timer_list sched_debug latency_stats kallsyms; do
  [ ! -e "/mnt/proc/$name" ] || mount -o bind /dev/null "/mnt/proc/$name"
done
mount -c -o bind,nosuid,nodev tree /mnt/tree
mount -c -o bind,nosuid,nodev tool /mnt/tool
mount -c -o bind,nosuid,nodev tool/tmp /mnt/tmp
mount -c -o bind,nosuid,nodev tool/tmp /mnt/var/tmp
cd /mnt
pivot_root . old
umount -l /old
cd /tree
confined() {
  setpriv --bounding-set=${CAPABILITIES} --inh-caps=-all --no-new-privs "$@"
}
`;

/** In the tree /dev and /proc are mounted now that it is the root: links in it lead nowhere else. */
const RUN = `
may=$1
shift
if [ "$may" = install ]; then
  for name in dev proc sys; do
    [ ! -L "/tree/$name" ] || { echo "/$name of the tree is a link"; exit 1; }
    [ -d "/tree/$name" ] || mkdir "/tree/$name"
  done
  mount --rbind /dev /tree/dev
  mount --rbind /proc /tree/proc
fi
confined "$@"
`;

/**
 * Runs a command of a package manager, as root but with hardly any right of root's, in namespaces of its own: all of the
 * host that it and the packages' scripts can change are the two directories.
 */
export function runInToolView(argv: readonly string[], options: ToolViewOptions): Promise<CommandResult> {
  return runToolScript(RUN, [options.may, ...argv], options);
}

/** The same of a script, which has root's rights in the view but for what it runs by `confined`. */
export function runToolScript(
  script: string,
  words: readonly string[],
  { directory, may, ...options }: ToolViewOptions,
): Promise<CommandResult> {
  const namespaces = [...NAMESPACES, ...(may === "install" ? ["--net"] : [])];
  return runCommand("unshare", [...namespaces, "sh", "-c", `${VIEW}${script}`, "berth-bootstrap", ...words], {
    ...options,
    cwd: directory,
    env: { HOME: "/tool/home", TMPDIR: "/tmp" },
    pidNamespace: true,
  });
}
