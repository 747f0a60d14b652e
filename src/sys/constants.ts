/**
 * Kernel constants, by the header they come from. x86-64 and arm64 agree on all of them but two open flags
 * (OPEN_FLAGS).
 */

// linux/fcntl.h, asm-generic/fcntl.h
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_EMPTY_PATH = 0x1000;
export const AT_STATX_DONT_SYNC = 0x4000;
export const AT_RECURSIVE = 0x8000;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
/** The flags whose bits differ. */
export const OPEN_FLAGS = {
  x64: { O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000, O_TMPFILE: 0o20200000 },
  arm64: { O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000, O_TMPFILE: 0o20040000 },
} as const;

// linux/openat2.h
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;

// linux/sched.h
export const CLONE_VM = 0x100;
export const CLONE_FILES = 0x400;
export const CLONE_PIDFD = 0x1000;
export const CLONE_VFORK = 0x4000;
export const CLONE_PARENT = 0x8000;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWCGROUP = 0x2000000;
export const CLONE_NEWUTS = 0x4000000;
export const CLONE_NEWIPC = 0x8000000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;
export const CLONE_CLEAR_SIGHAND = 0x100000000;
export const CLONE_INTO_CGROUP = 0x200000000;

// linux/mount.h
export const MS_SLAVE = 1 << 19;
export const MS_PRIVATE = 1 << 18;
export const MS_SHARED = 1 << 20;
export const MS_REC = 1 << 14;
export const MNT_DETACH = 2;
export const OPEN_TREE_CLONE = 1;
export const OPEN_TREE_CLOEXEC = O_CLOEXEC;
export const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
export const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
export const FSOPEN_CLOEXEC = 1;
export const FSMOUNT_CLOEXEC = 1;
export const FSCONFIG_SET_FLAG = 0;
export const FSCONFIG_SET_STRING = 1;
export const FSCONFIG_CMD_CREATE = 6;
export const MOUNT_ATTR_RDONLY = 0x01;
export const MOUNT_ATTR_NOSUID = 0x02;
export const MOUNT_ATTR_NODEV = 0x04;
export const MOUNT_ATTR_NOEXEC = 0x08;
export const MOUNT_ATTR_RELATIME = 0;
export const MOUNT_ATTR_NOATIME = 0x10;
export const MOUNT_ATTR_NODIRATIME = 0x80;
export const MOUNT_ATTR_STRICTATIME = 0x20;
export const MOUNT_ATTR_IDMAP = 0x100000;

// linux/stat.h
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const STATX_TYPE = 1;

// linux/fs.h
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

export const FS_IOC_GETFLAGS = 0x80086601;
export const FS_IOC_SETFLAGS = 0x40086602;
export const FS_IMMUTABLE_FL = 0x10;
export const FS_TOPDIR_FL = 0x20000;

// linux/resource.h
/** Of brk(2) and of private memory that can be written to: getrlimit(2). */
export const RLIMIT_DATA = 2;

// linux/prctl.h, linux/securebits.h, linux/capability.h
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_CHILD_SUBREAPER = 36;
export const PR_SET_KEEPCAPS = 8;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_RAISE = 2;
export const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

// linux/personality.h
export const PER_LINUX = 0;
export const PER_LINUX32 = 8;

// linux/keyctl.h
export const KEYCTL_JOIN_SESSION_KEYRING = 1;

// linux/magic.h
export const PROC_SUPER_MAGIC = 0x9fa0;

// linux/seccomp.h
export const SECCOMP_SET_MODE_FILTER = 1;

// linux/socket.h, bits/socket.h
export const AF_UNIX = 1;
export const AF_INET = 2;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_CLOEXEC = O_CLOEXEC;
export const SOCK_NONBLOCK = O_NONBLOCK;
export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;
export const SCM_CREDENTIALS = 2;
export const SO_PASSCRED = 16;
export const SO_PEERCRED = 17;
export const MSG_PEEK = 2;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CTRUNC = 8;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const SIOCSIFFLAGS = 0x8914;
export const IFF_UP = 1;

// asm-generic/ioctls.h
export const TCGETS = 0x5401;
export const TCSETS = 0x5402;
export const TIOCSCTTY = 0x540e;
export const TIOCGWINSZ = 0x5413;
export const TIOCSWINSZ = 0x5414;
export const TIOCGPTN = 0x80045430;
export const TIOCSPTLCK = 0x40045431;
export const TIOCGPTPEER = 0x5441;

// sys/wait.h, linux/pidfd.h
export const P_PIDFD = 3;
export const WNOHANG = 1;
export const WEXITED = 4;
export const WALL = 0x40000000;

// sys/file.h
export const LOCK_EX = 2;
export const LOCK_NB = 4;
