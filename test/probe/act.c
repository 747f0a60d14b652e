/* Verbs that do one thing: files, mounts, raw system calls, messages, ends. */
#include "probe.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static unsigned long number(const char *text) { return strtoul(text, NULL, 0); }

/* "-" stands for "no value" where a system call takes NULL. */
static const char *or_null(const char *text) { return strcmp(text, "-") == 0 ? NULL : text; }

static int verb_exit(char **args) {
  flush();
  _exit((int)number(args[0]));
}

/* PID 1 of a namespace gets a signal from inside only if it handles it (pid_namespaces(7)): it then lives on. */
static int verb_signal(char **args) {
  flush();
  return kill(getpid(), (int)number(args[0])) < 0 ? errno : 0;
}

static int verb_sleep(char **args) {
  unsigned long milliseconds = number(args[0]);
  struct timespec left = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) < 0 && errno == EINTR)
    ;
  return 0;
}

static int copy_out(int fd) {
  char bytes[65536];
  ssize_t got;
  out("", 0);
  while ((got = read(fd, bytes, sizeof bytes)) > 0) {
    out(bytes, (size_t)got);
    flush();
  }
  return got < 0 ? errno : 0;
}

static int verb_cat(char **args) {
  int fd = open(args[0], O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0)
    return errno;
  int error = copy_out(fd);
  close(fd);
  return error;
}

static int verb_mounts(char **args) {
  (void)args;
  return verb_cat((char *[]){"/proc/self/mountinfo", NULL});
}

static int verb_echo(char **args) {
  (void)args;
  return copy_out(0);
}

static int verb_write(char **args) {
  int fd = open(args[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
  if (fd < 0)
    return errno;
  size_t length = strlen(args[1]);
  ssize_t written = write(fd, args[1], length);
  int error = written < 0 ? errno : 0;
  if (close(fd) < 0 && !error)
    error = errno;
  return error ? error : (size_t)written == length ? 0 : EIO;
}

static int verb_open_rw(char **args) {
  int fd = open(args[0], O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return errno;
  close(fd);
  return 0;
}

static int verb_mkdir(char **args) { return mkdir(args[0], 0755) < 0 ? errno : 0; }

static int verb_mount(char **args) {
  int result = mount(or_null(args[0]), args[1], or_null(args[2]), number(args[3]), or_null(args[4]));
  return result < 0 ? errno : 0;
}

static int verb_umount(char **args) { return umount2(args[0], MNT_DETACH) < 0 ? errno : 0; }

static int verb_remount_rw(char **args) {
  return mount(NULL, args[0], NULL, MS_REMOUNT | MS_BIND, NULL) < 0 ? errno : 0;
}

static int verb_mknod(char **args) {
  mode_t type = args[1][0] == 'b' ? S_IFBLK : S_IFCHR;
  dev_t device = makedev((unsigned)number(args[2]), (unsigned)number(args[3]));
  return mknod(args[0], type | 0600, device) < 0 ? errno : 0;
}

/* sd_notify(3): one datagram; "@" begins an abstract name. */
static int verb_notify(char **args) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!path || strlen(path) >= sizeof address.sun_path)
    return path ? ENAMETOOLONG : EDESTADDRREQ;
  size_t length = strlen(path);
  memcpy(address.sun_path, path, length);
  if (path[0] == '@')
    address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return errno;
  struct iovec text = {args[0], strlen(args[0])};
  struct msghdr message = {.msg_name = &address,
                           .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length),
                           .msg_iov = &text,
                           .msg_iovlen = 1};
  int error = sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? errno : 0;
  close(fd);
  return error;
}

static int verb_reboot(char **args) {
  static const struct {
    const char *name;
    unsigned command;
  } commands[] = {{"restart", LINUX_REBOOT_CMD_RESTART},
                  {"halt", LINUX_REBOOT_CMD_HALT},
                  {"poweroff", LINUX_REBOOT_CMD_POWER_OFF}};
  flush();
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp(args[0], commands[i].name) == 0)
      return reboot((int)commands[i].command) < 0 ? errno : 0;
  return EINVAL;
}

static int verb_syscall(char **args) {
  long value[6] = {0};
  for (int i = 0; i < 6 && args[1 + i]; i++)
    value[i] = (long)number(args[1 + i]);
  errno = 0;
  long result = syscall((long)number(args[0]), value[0], value[1], value[2], value[3], value[4], value[5]);
  json_begin("syscall");
  json_int("result", result);
  json_str("errno", result == -1 && errno ? strerrorname_np(errno) : NULL);
  json_end();
  return 0;
}

/* Adds a key to the caller's user keyring: on the host, the canary `escape` looks for. */
static int verb_add_key(char **args) {
  long serial = syscall(SYS_add_key, "user", args[0], args[1], strlen(args[1]), KEY_SPEC_USER_KEYRING);
  if (serial < 0)
    return errno;
  json_begin("add-key");
  json_int("serial", serial);
  json_end();
  return 0;
}

static int verb_remove_key(char **args) {
  return syscall(SYS_keyctl, KEYCTL_UNLINK, (long)number(args[0]), KEY_SPEC_USER_KEYRING) < 0 ? errno : 0;
}

const struct verb act_verbs[] = {
    {"exit", 1, "STATUS", verb_exit},
    {"signal", 1, "NUMBER (to itself)", verb_signal},
    {"sleep", 1, "MILLISECONDS", verb_sleep},
    {"cat", 1, "PATH", verb_cat},
    {"mounts", 0, "(/proc/self/mountinfo)", verb_mounts},
    {"echo", 0, "(standard input to standard output)", verb_echo},
    {"write", 2, "PATH TEXT", verb_write},
    {"open-rw", 1, "PATH", verb_open_rw},
    {"mkdir", 1, "PATH", verb_mkdir},
    {"mount", 5, "SOURCE TARGET TYPE FLAGS DATA (- for none)", verb_mount},
    {"umount", 1, "PATH", verb_umount},
    {"remount-rw", 1, "PATH", verb_remount_rw},
    {"mknod", 4, "PATH c|b MAJOR MINOR", verb_mknod},
    {"notify", 1, "TEXT (to $NOTIFY_SOCKET)", verb_notify},
    {"reboot", 1, "restart|halt|poweroff", verb_reboot},
    {"syscall", 1, "NUMBER [ARGUMENT...]", verb_syscall},
    {"add-key", 2, "NAME VALUE", verb_add_key},
    {"remove-key", 1, "SERIAL", verb_remove_key},
    {0},
};
