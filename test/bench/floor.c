/*
 * The floor under a machine start: a plain C program that makes the same machine as berth and does nothing else.
 *
 *   floor [-s] -f FILTER -c CGROUP ROOT PROGRAM [ARG...]   everything that berth's default plan does
 *   floor [-s] ROOT PROGRAM [ARG...]                       no protections: namespaces, mounts, pivot_root, exec
 *
 * FILTER is a BPF program, berth's own (an array of struct sock_filter), CGROUP a directory of cgroup2 to make the
 * machine's cgroup in. -s: a launch for each line on standard input, answered by a line of three numbers: ns
 * from the call to exec, ns from the call to the exit that was noticed, exit status.
 *
 * With protections: user, pid, uts and network namespace by clone3, into a cgroup of its own; id maps; the root mounted
 * with mapped ids; ipc and cgroup namespace; fresh /proc, /sys, cgroup2, devpts, mqueue, /dev, /run, /run/host, /tmp,
 * /dev/shm; a console; the masks of plan/masks.ts; resource limits; bounding set; seccomp filter; capabilities. What it
 * leaves out, as it would take further processes: berth's masks are locked, and berth's keeper outlives its parent,
 * keeps the console log and writes down the exit status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Of sys/mount.h, which can't be included beside linux/mount.h. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
enum { DETACH = 2 };

#define MUST(call) ({ long result_ = (call); if (result_ < 0) die(#call); result_; })
#define LENGTH(array) (sizeof(array) / sizeof *(array))
enum { BASE = 1 << 30, SIZE = 65536, NS = MOUNT_ATTR_NOSUID, ND = MOUNT_ATTR_NODEV, NX = MOUNT_ATTR_NOEXEC };

static const char *filter_file, *cgroup;
static struct sock_fprog filter;

static void die(const char *call) {
  fprintf(stderr, "floor: %s: %s\n", call, strerror(errno));
  _exit(125);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* A new file system, detached. `options`: name, value, name, value, ..., 0; an empty value stands for a flag. */
static int make(const char *type, unsigned attributes, const char *const *options) {
  int context = MUST(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
  for (; options && *options; options += 2)
    MUST(*options[1] ? syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[0], options[1], 0)
                     : syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, options[0], 0, 0));
  MUST(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0));
  int mounted = MUST(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes));
  close(context);
  return mounted;
}
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, 0})

/* Where `path` leads inside `root`, never through a link; -1: this kernel has no such file. */
static int in_root(int root, const char *path) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
  return syscall(SYS_openat2, root, path, &how, sizeof how);
}

static void attach(int mounted, int place) {
  MUST(syscall(SYS_move_mount, mounted, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
  close(mounted);
  close(place);
}

static void set(int mounted, uint64_t attributes, int userns) {
  struct mount_attr attr = {.attr_set = attributes, .userns_fd = userns};
  MUST(syscall(SYS_mount_setattr, mounted, "", AT_EMPTY_PATH, &attr, sizeof attr));
}

/* Covers `path` with a locked-down copy of `over`, or with one of itself. */
static void cover(int root, const char *path, const char *over) {
  int place = in_root(root, path);
  if (place < 0) return;
  int copy = MUST(over ? syscall(SYS_open_tree, root, over, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                       : syscall(SYS_open_tree, place, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  set(copy, MOUNT_ATTR_RDONLY | NS | ND | NX, 0);
  attach(copy, place);
}

/* What only host root may make: file systems with device nodes and files that belong to the machine's root. */
static void make_ours(int *dev, int *run, int *host) {
  static const int minor_of[] = {3, 5, 7, 8, 9};
  static const char *const node[] = {"null", "zero", "full", "random", "urandom"};
  static const char *const link[][2] = {{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"core", "/proc/kcore"},
    {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}};
  static const char *const file[][2] = {{"container-manager", "floor\n"}, {"os-release", "ID=floor\n"},
    {"container-uuid", "01234567-89ab-cdef-0123-456789abcdef\n"}, {"reg", ""}};
  umask(0);
  setfsgid(BASE), setfsuid(BASE);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct capabilities[2];
  MUST(syscall(SYS_capget, &header, capabilities));
  capabilities[0].effective = capabilities[0].permitted;
  MUST(syscall(SYS_capset, &header, capabilities));
  *dev = make("tmpfs", NS, OPTIONS("mode", "755", "size", "4m"));
  for (size_t i = 0; i < LENGTH(node); i++) MUST(mknodat(*dev, node[i], S_IFCHR | 0666, makedev(1, minor_of[i])));
  MUST(mknodat(*dev, "tty", S_IFCHR | 0666, makedev(5, 0)));
  for (size_t i = 0; i < LENGTH(link); i++) MUST(symlinkat(link[i][1], *dev, link[i][0]));
  MUST(mknodat(*dev, "console", S_IFREG | 0600, 0));
  for (const char *const *name = OPTIONS("shm", "pts", "mqueue"); *name; name++) MUST(mkdirat(*dev, *name, 0755));
  *run = make("tmpfs", NS | ND, OPTIONS("mode", "755", "size", "20%"));
  MUST(mkdirat(*run, "host", 0755));
  *host = make("tmpfs", NS | ND | NX, OPTIONS("mode", "755", "size", "1m"));
  for (size_t i = 0; i < LENGTH(file); i++) {
    int fd = MUST(openat(*host, file[i][0], O_CREAT | O_WRONLY | O_CLOEXEC, 0444));
    MUST(write(fd, file[i][1], strlen(file[i][1])));
    close(fd);
  }
  MUST(mkdirat(*host, "dir", 0));
  set(*host, MOUNT_ATTR_RDONLY, 0);
  setfsuid(0), setfsgid(0);
}

static void drop_privileges(void) {
  for (int i = 0; i < 14; i++) {
    struct rlimit limit;
    getrlimit(i, &limit);
    MUST(setrlimit(i, &limit));
  }
  uint64_t keep = 0xfdecbfff; /* berth's default set, with a network of the machine's own */
  for (int i = 0; i <= 40; i++)
    if (!(keep >> i & 1)) MUST(prctl(PR_CAPBSET_DROP, i));
  MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  uint32_t low = keep, high = keep >> 32;
  struct __user_cap_data_struct capabilities[2] = {{low, low, 0}, {high, high, 0}};
  MUST(syscall(SYS_capset, &header, capabilities));
}

/* A message of one byte with one fd: the console's master, from the child to the parent. */
static union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
static char byte;
static struct msghdr message = {.msg_iov = &(struct iovec){&byte, 1}, .msg_iovlen = 1, .msg_control = &control,
  .msg_controllen = sizeof control};

static void send_fd(int socket, int fd) {
  control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  MUST(sendmsg(socket, &message, 0));
}

static int receive_fd(int socket) {
  int fd;
  message.msg_controllen = sizeof control;
  if (MUST(recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) != 1) die("the child ended");
  memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
  return fd;
}

/* The machine's first process, in its new namespaces. */
static void enter(int parent, int root, int dev, int run, int host) {
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  setsid();
  MUST(setresgid(0, 0, 0)), MUST(syscall(SYS_setgroups, 0, 0)), MUST(setresuid(0, 0, 0));
  MUST(unshare(CLONE_NEWCGROUP | CLONE_NEWIPC));
  int inet = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  MUST(ioctl(inet, SIOCSIFFLAGS, &loopback));
  close(inet);

  int proc = make("proc", NS | ND | NX, 0), sys = make("sysfs", MOUNT_ATTR_RDONLY | NS | ND | NX, 0);
  int cgroups = make("cgroup2", NS | ND | NX, 0), queues = make("mqueue", NS | ND | NX, 0);
  int pts = make("devpts", NS | NX, OPTIONS("newinstance", "", "ptmxmode", "0666", "mode", "620", "gid", "5"));
  MUST(syscall(SYS_move_mount, root, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH));
  attach(dev, in_root(root, "dev"));
  attach(make("tmpfs", NS | ND, OPTIONS("mode", "1777", "size", "50%")), in_root(root, "dev/shm"));
  attach(run, in_root(root, "run"));
  attach(host, in_root(root, "run/host"));
  attach(make("tmpfs", NS | ND, OPTIONS("mode", "1777", "size", "50%")), in_root(root, "tmp"));
  attach(proc, in_root(root, "proc"));
  attach(sys, in_root(root, "sys"));
  attach(cgroups, in_root(root, "sys/fs/cgroup"));
  attach(pts, in_root(root, "dev/pts"));
  attach(queues, in_root(root, "dev/mqueue"));
  for (const char *const *path = OPTIONS("kallsyms", "kcore", "keys", "latency_stats", "sched_debug", "sysrq-trigger",
    "timer_list"); *path; path++) {
    char full[32];
    snprintf(full, sizeof full, "proc/%s", *path);
    cover(root, full, "run/host/reg");
  }
  for (const char *const *path = OPTIONS("proc/acpi", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap");
       *path; path++) cover(root, *path, "run/host/dir");
  int net = MUST(syscall(SYS_open_tree, root, "proc/sys/net", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  for (const char *const *path = OPTIONS("proc/apm", "proc/asound", "proc/bus", "proc/fs", "proc/irq", "proc/sys");
       *path; path++) cover(root, *path, 0);
  attach(net, in_root(root, "proc/sys/net"));

  int zero = 0, master = MUST(openat(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  MUST(ioctl(master, TIOCSPTLCK, &zero));
  int terminal = MUST(ioctl(master, TIOCGPTPEER, O_RDWR | O_CLOEXEC));
  send_fd(parent, master);
  int bound = MUST(syscall(SYS_open_tree, terminal, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  attach(bound, in_root(root, "dev/console"));
  for (int i = 0; i < 3; i++) dup3(terminal, i, 0);

  MUST(fchdir(root));
  MUST(syscall(SYS_pivot_root, ".", "."));
  MUST(umount2(".", DETACH));
  MUST(sethostname("floor", 5));
  umask(022);
  drop_privileges();
}

/* The reference's floor: what any container has, made with mount(2), and no protection. */
static void enter_unprotected(const char *root) {
  static const char *const node[] = {"dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom"};
  static const int minor_of[] = {3, 5, 7, 8, 9};
  enum { PRIVATE_ALL = 1 << 18 | 1 << 14, BIND_ALL = 1 << 12 | 1 << 14, RO = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8 };
  MUST(mount(0, "/", 0, PRIVATE_ALL, 0));
  MUST(mount(root, root, 0, BIND_ALL, 0));
  MUST(chdir(root));
  MUST(mount("proc", "proc", "proc", NOSUID | NODEV | NOEXEC, 0));
  MUST(mount("tmpfs", "dev", "tmpfs", NOSUID, "mode=755"));
  umask(0);
  for (size_t i = 0; i < LENGTH(node); i++) MUST(mknod(node[i], S_IFCHR | 0666, makedev(1, minor_of[i])));
  umask(022);
  MUST(mkdir("dev/pts", 0755)), MUST(mkdir("dev/shm", 0755));
  MUST(mount("devpts", "dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"));
  MUST(mount("tmpfs", "dev/shm", "tmpfs", NOSUID | NODEV, 0));
  MUST(mount("tmpfs", "run", "tmpfs", NOSUID | NODEV, "mode=755"));
  MUST(mount("tmpfs", "tmp", "tmpfs", NOSUID | NODEV, 0));
  MUST(mount("sysfs", "sys", "sysfs", RO | NOSUID | NODEV | NOEXEC, 0));
  MUST(mount("cgroup2", "sys/fs/cgroup", "cgroup2", NOSUID | NODEV | NOEXEC, 0));
  MUST(syscall(SYS_pivot_root, ".", "."));
  MUST(umount2(".", DETACH));
  MUST(sethostname("floor", 5));
}

static void write_file(const char *path, const char *text) {
  int fd = MUST(open(path, O_WRONLY | O_CLOEXEC));
  MUST(write(fd, text, strlen(text)));
  close(fd);
}

static void map_ids(pid_t pid, int root) {
  char path[64], map[64];
  snprintf(map, sizeof map, "0 %d %d\n", BASE, SIZE);
  for (const char *const *file = OPTIONS("gid_map", "uid_map"); *file; file++) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, *file);
    write_file(path, map);
  }
  snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
  int userns = MUST(open(path, O_RDONLY | O_CLOEXEC));
  set(root, MOUNT_ATTR_IDMAP, userns);
  close(userns);
  snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
  write_file(path, "0\n");
}

/* Reads the console until the machine ends, or its writers would wait for ever. */
static void drain(int master, int pidfd) {
  struct pollfd watched[] = {{master, POLLIN, 0}, {pidfd, POLLIN, 0}};
  char text[4096];
  while (poll(watched, 2, -1) >= 0 && !watched[1].revents)
    if (read(master, text, sizeof text) < 0 && errno == EIO) watched[0].fd = -1;
}

/* One launch; returns the payload's exit status, and when it was executed and had ended, in ns from the call. */
static int launch(const char *root, char **argv, uint64_t times[2], int console) {
  static char *const environment[] = {"container=floor", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", 0};
  uint64_t begin = now();
  int ends[2], tree = -1, group = -1, dev = -1, run = -1, host = -1, master = -1, slave = -1, pidfd, status;
  char path[512];
  struct clone_args clone = {.exit_signal = SIGCHLD, .pidfd = (uintptr_t)&pidfd, .flags = CLONE_PIDFD |
    CLONE_CLEAR_SIGHAND | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNET};
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
  if (cgroup) {
    snprintf(path, sizeof path, "%s/floor-%d", cgroup, getpid());
    MUST(mkdir(path, 0755));
    group = MUST(open(path, O_DIRECTORY | O_CLOEXEC));
    for (const char *const *file = OPTIONS(".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"); *file;
         file++) MUST(fchownat(group, *file, BASE, BASE, 0));
    tree = MUST(syscall(SYS_open_tree, AT_FDCWD, root, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
    set(tree, ND, 0);
    make_ours(&dev, &run, &host);
    clone.flags |= CLONE_NEWUSER | CLONE_INTO_CGROUP;
    clone.cgroup = group;
  } else clone.flags |= CLONE_NEWIPC | CLONE_NEWCGROUP;
  pid_t pid = MUST(syscall(SYS_clone3, &clone, sizeof clone));
  if (pid == 0) {
    close(ends[0]);
    if (cgroup && read(ends[1], &byte, 1) != 1) _exit(125);
    if (cgroup) enter(ends[1], tree, dev, run, host);
    else enter_unprotected(root);
    MUST(chdir("/"));
    syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
    execve(argv[0], argv, environment);
    die("execve");
  }
  close(ends[1]);
  if (cgroup) {
    map_ids(pid, tree);
    MUST(write(ends[0], "", 1));
    master = receive_fd(ends[0]);
    slave = MUST(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)); /* or reading ends when nobody has it open */
  }
  MUST(read(ends[0], &byte, 1)); /* end of file: executed */
  times[0] = now() - begin;
  if (console && cgroup) drain(master, pidfd);
  MUST(waitpid(pid, &status, 0));
  times[1] = now() - begin;
  close(ends[0]), close(pidfd);
  if (cgroup) {
    for (const int *fd = (int[]){tree, group, dev, run, host, master, slave, -1}; *fd >= 0; fd++) close(*fd);
    while (rmdir(path) < 0 && errno == EBUSY && !console) continue; /* exit is asynchronous; systemd leaves a tree of them */
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void load_filter(void) {
  static char bytes[65536];
  int fd = MUST(open(filter_file, O_RDONLY | O_CLOEXEC));
  long size = MUST(read(fd, bytes, sizeof bytes));
  close(fd);
  filter = (struct sock_fprog){.len = size / sizeof(struct sock_filter), .filter = (void *)bytes};
}

int main(int argc, char **argv) {
  int serve = 0, option;
  while ((option = getopt(argc, argv, "+sf:c:")) != -1)
    if (option == 's') serve = 1;
    else if (option == 'f') filter_file = optarg;
    else if (option == 'c') cgroup = optarg;
    else return 2;
  if (argc - optind < 2 || !filter_file != !cgroup) return fprintf(stderr, "floor: see floor.c\n"), 2;
  if (filter_file) load_filter();
  uint64_t times[2];
  if (!serve) return launch(argv[optind], argv + optind + 1, times, 1);
  for (char line[16]; fgets(line, sizeof line, stdin);) {
    int status = launch(argv[optind], argv + optind + 1, times, 0);
    printf("%lu %lu %d\n", times[0], times[1], status);
    fflush(stdout);
  }
}
