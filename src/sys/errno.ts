import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { BerthError } from "../errors.ts";

/** Made at the first error: most starts see none. */
let names: ReadonlyMap<number, string> | undefined;
let texts: ReadonlyMap<number, readonly [name: string, text: string]> | undefined;

function makeNames(): ReadonlyMap<number, string> {
  return new Map(
    Object.entries(constants.errno)
      // Second names of EAGAIN and EOPNOTSUPP.
      .filter(([name]) => name !== "EWOULDBLOCK" && name !== "ENOTSUP")
      .map(([name, number]) => [number, name]),
  );
}

/** `ENOENT` for 2; `errno 531` for one Node has no name for. */
export function errnoName(errno: number): string {
  names ??= makeNames();
  return names.get(errno) ?? `errno ${errno}`;
}

/** `ENOENT: no such file or directory` for 2; only the name for one without a text. */
export function errnoText(errno: number): string {
  texts ??= getSystemErrorMap();
  const text = texts.get(-errno)?.[1];
  return text === undefined ? errnoName(errno) : `${errnoName(errno)}: ${text}`;
}

/**
 * What an errno really means where the kernel's word for it misleads: `call errno` -> the sentence to print.
 * Sources: the ERRORS sections of the man pages of section 2, and the kernel's own checks where those are silent.
 */
const HINTS: Readonly<Record<string, string>> = {
  "clone3 EPERM":
    "this process may not make namespaces: run as root outside of a restricted container (berth doctor says what is missing)",
  "clone3 ENOSPC":
    "a limit on namespaces is reached, not disk space: raise user.max_user_namespaces, user.max_net_namespaces or the like with sysctl",
  "clone3 EUSERS": "a limit on nested user namespaces is reached",
  "clone3 EBUSY": "the machine's cgroup has enabled controllers for its children, so no process can be put into it",
  "clone3 EOPNOTSUPP": "the target cgroup is in an invalid threaded state",
  "clone3 EAGAIN":
    "a limit on processes is reached (kernel.pid_max, pids.max, or RLIMIT_NPROC: ulimit -u of whoever called)",
  "mkdir EROFS": "it is mounted read-only; a cgroup has to be delegated to berth by the container it runs in",
  "mkdirat EROFS":
    "the tree can't be written to and has no such directory: make it where the tree comes from, or use Volatile=overlay, which makes it in memory",
  "mknodat EROFS":
    "the tree can't be written to and has no such file: make it where the tree comes from, or use Volatile=overlay, which makes it in memory",
  "unshare EPERM": "CAP_SYS_ADMIN is missing: run as root",
  "unshare ENOSPC": "a limit on namespaces is reached, not disk space: raise user.max_mnt_namespaces with sysctl",
  "fsconfig ELOOP": "two layers are the same directory, or one lies in the other",
  "fsmount EPERM":
    "the kernel refuses a new instance while the host's own one is partly hidden: an outer container masks its /proc or /sys",
  "mount_setattr EINVAL":
    "the file system it is on can't be mounted with mapped ids (idmapped mounts) on this kernel; for a tree, PrivateUsersOwnership=chown changes the owners on disk instead",
  "mount_setattr EPERM": "the mount already has mapped ids, or belongs to another user namespace",
  "inotify_init1 EMFILE": "a limit on watches is reached: raise fs.inotify.max_user_instances with sysctl",
  "inotify_add_watch ENOSPC":
    "a limit on watches is reached, not disk space: raise fs.inotify.max_user_watches with sysctl",
  "sched_setaffinity EINVAL":
    "none of these CPUs is online and in the cpuset of the machine's cgroup: lscpu lists them",
  "personality EINVAL": "this kernel or processor runs no 32-bit programs",
  "unlinkat EISDIR":
    "a directory is in the place of that file, and is not replaced: remove it from the tree, or turn ResolvConf= or Timezone= off",
  "execve EAGAIN": "a limit on processes is reached (RLIMIT_NPROC: ulimit -u of whoever called)",
  "openat2 EAGAIN":
    "somebody keeps renaming directories or mounting while the path is followed: try again without that",
  "openat2 ELOOP": "the path is a symbolic link where none is allowed",
  "openat2 EXDEV": "the path leaves the tree",
  "open_tree EINVAL": "the path holds a mount that must not be copied (an unbindable one)",
  "mount ENOSPC": "the limit on mounts is reached, not disk space: raise fs.mount-max with sysctl",
  "move_mount ENOSPC": "the limit on mounts is reached, not disk space: raise fs.mount-max with sysctl",
  "move_mount EINVAL": "most likely one is a directory and the other a file",
  "execve ENOEXEC": "the file is neither a program for this machine nor a script with an interpreter line",
  "execve ENOENT": "the program, its interpreter (#!) or its loader is missing in the tree",
  "execve EACCES": "the file is not executable",
  "posix_spawn EACCES": "the file is not executable, or its file system is mounted noexec",
};

/** The hint for a failed call, undefined where errno says it all. */
export function errnoHint(syscall: string, errno: number): string | undefined {
  return HINTS[`${syscall} ${errnoName(errno)}`];
}

/** A system call that failed: what was called on what, and the errno. */
export class SysError extends BerthError {
  readonly syscall: string;
  readonly errno: number;
  /** errno's name, as in Node's own errors: `ENOENT`. */
  readonly code: string;
  readonly path: string | undefined;

  /** `subject` is the path or the arguments that matter; `path` alone becomes the subject too. */
  constructor(syscall: string, errno: number, options: { path?: string; subject?: string } = {}) {
    const subject = options.subject ?? options.path;
    super(`${syscall}${subject ? ` ${subject}` : ""}: ${errnoText(errno)}`, {
      hint: errnoHint(syscall, errno),
    });
    this.syscall = syscall;
    this.errno = errno;
    this.code = errnoName(errno);
    this.path = options.path;
  }
}
