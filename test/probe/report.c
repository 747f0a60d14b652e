/* Verbs that tell what the process was given: identity, capabilities, fds, namespaces, environment. */
#include "probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

long read_file(const char *path, char *buffer, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  size_t length = 0;
  ssize_t got;
  while (length < size - 1 && (got = read(fd, buffer + length, size - 1 - length)) > 0)
    length += (size_t)got;
  close(fd);
  buffer[length] = 0;
  return (long)length;
}

static int verb_env(char **args) {
  (void)args;
  json_begin("env");
  json_open("env", '{');
  for (char **entry = environ; *entry; entry++) {
    char *equals = strchr(*entry, '=');
    if (!equals)
      continue;
    char *name = strndup(*entry, (size_t)(equals - *entry));
    json_str(name, equals + 1);
    free(name);
  }
  json_close('}');
  json_end();
  return 0;
}

/* Bit N set = capability N; from the calls rather than /proc/self/status, which a test machine may lack. */
static uint64_t prctl_bits(int option, unsigned long argument2, bool takes_two) {
  uint64_t bits = 0;
  for (unsigned long cap = 0; cap < 64; cap++)
    if ((takes_two ? prctl(option, argument2, cap, 0, 0) : prctl(option, cap, 0, 0, 0)) == 1)
      bits |= UINT64_C(1) << cap;
  return bits;
}

static int verb_ids(char **args) {
  (void)args;
  uid_t uid[3];
  gid_t gid[3], groups[1024];
  getresuid(&uid[0], &uid[1], &uid[2]);
  getresgid(&gid[0], &gid[1], &gid[2]);
  int count = getgroups(1024, groups);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct caps[2] = {0};
  syscall(SYS_capget, &header, caps);

  json_begin("ids");
  json_int("uid", uid[0]);
  json_int("euid", uid[1]);
  json_int("suid", uid[2]);
  json_int("gid", gid[0]);
  json_int("egid", gid[1]);
  json_int("sgid", gid[2]);
  json_open("groups", '[');
  for (int i = 0; i < count; i++)
    json_int(NULL, groups[i]);
  json_close(']');
  json_hex("effective", caps[0].effective | (uint64_t)caps[1].effective << 32);
  json_hex("permitted", caps[0].permitted | (uint64_t)caps[1].permitted << 32);
  json_hex("inheritable", caps[0].inheritable | (uint64_t)caps[1].inheritable << 32);
  json_hex("bounding", prctl_bits(PR_CAPBSET_READ, 0, false));
  json_hex("ambient", prctl_bits(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, true));
  json_int("securebits", prctl(PR_GET_SECUREBITS));
  json_bool("noNewPrivileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  json_int("seccomp", prctl(PR_GET_SECCOMP));
  json_end();
  return 0;
}

static int verb_process(char **args) {
  (void)args;
  char text[64];
  int death = 0;
  prctl(PR_GET_PDEATHSIG, &death);
  json_begin("process");
  json_int("pid", getpid());
  json_int("ppid", getppid());
  json_int("pgid", getpgid(0));
  json_int("sid", getsid(0));
  json_int("dumpable", prctl(PR_GET_DUMPABLE));
  json_int("pdeathsig", death);
  json_int("childSubreaper", prctl(PR_GET_CHILD_SUBREAPER, &death) == 0 ? death : -1);
  json_hex("personality", (unsigned)personality(0xffffffff));
  json_int("nice", getpriority(PRIO_PROCESS, 0));
  json_str("oomScoreAdj", read_file("/proc/self/oom_score_adj", text, sizeof text) > 0 ? strtok(text, "\n") : NULL);
  json_end();
  return 0;
}

static const char *type_name(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG: return "file";
  case S_IFDIR: return "directory";
  case S_IFLNK: return "link";
  case S_IFCHR: return "char";
  case S_IFBLK: return "block";
  case S_IFIFO: return "fifo";
  case S_IFSOCK: return "socket";
  default: return "other";
  }
}

/* Without /proc too: the numbers then, with their types instead of targets. */
static int verb_fds(char **args) {
  (void)args;
  json_begin("fds");
  json_open("fds", '{');
  for (int fd = 0; fd < 4096; fd++) {
    struct stat status;
    if (fstat(fd, &status) < 0)
      continue;
    char number[16], path[64], target[4096];
    snprintf(number, sizeof number, "%d", fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    json_str(number, length > 0 ? target : type_name(status.st_mode));
  }
  json_close('}');
  json_end();
  return 0;
}

static int verb_cwd(char **args) {
  (void)args;
  char path[4096];
  /* The system call: glibc's getcwd hides "(unreachable)/...". */
  long length = syscall(SYS_getcwd, path, sizeof path);
  if (length < 0)
    return errno;
  json_begin("cwd");
  json_str("cwd", path);
  json_end();
  return 0;
}

static int verb_ls(char **args) {
  struct dirent **entries;
  int count = scandir(args[0], &entries, NULL, alphasort);
  if (count < 0)
    return errno;
  json_begin("ls");
  json_open("names", '[');
  for (int i = 0; i < count; i++)
    if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
      json_str(NULL, entries[i]->d_name);
  json_close(']');
  json_end();
  return 0;
}

static int verb_stat(char **args) {
  struct stat status;
  char target[4096];
  if (lstat(args[0], &status) < 0)
    return errno;
  ssize_t length = readlink(args[0], target, sizeof target - 1);
  target[length > 0 ? length : 0] = 0;
  json_begin("stat");
  json_str("type", type_name(status.st_mode));
  json_int("mode", status.st_mode & 07777);
  json_int("uid", status.st_uid);
  json_int("gid", status.st_gid);
  json_int("size", status.st_size);
  json_int("major", (long long)((status.st_rdev >> 8) & 0xfff));
  json_int("minor", (long long)((status.st_rdev & 0xff) | ((status.st_rdev >> 12) & 0xfff00)));
  if (length > 0)
    json_str("target", target);
  json_end();
  return 0;
}

static int verb_hostname(char **args) {
  (void)args;
  struct utsname names;
  if (uname(&names) < 0)
    return errno;
  json_begin("hostname");
  json_str("hostname", names.nodename);
  json_str("domainname", names.domainname);
  json_str("machine", names.machine);
  json_end();
  return 0;
}

static int verb_namespaces(char **args) {
  (void)args;
  static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  json_begin("namespaces");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    json_str(names[i], length > 0 ? target : NULL);
  }
  json_end();
  return 0;
}

/* Interfaces with their flags and addresses: {"lo":{"up":true,"addresses":["127.0.0.1"]}} */
static int verb_net(char **args) {
  (void)args;
  struct ifaddrs *list;
  if (getifaddrs(&list) < 0)
    return errno;
  json_begin("net");
  json_open("links", '{');
  for (struct ifaddrs *link = list; link; link = link->ifa_next) {
    if (!link->ifa_addr || link->ifa_addr->sa_family != AF_PACKET)
      continue;
    json_open(link->ifa_name, '{');
    json_bool("up", link->ifa_flags & IFF_UP);
    json_open("addresses", '[');
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
      if (!at->ifa_addr || strcmp(at->ifa_name, link->ifa_name) != 0)
        continue;
      char text[INET6_ADDRSTRLEN];
      int family = at->ifa_addr->sa_family;
      const void *address = family == AF_INET ? (void *)&((struct sockaddr_in *)at->ifa_addr)->sin_addr
                                              : (void *)&((struct sockaddr_in6 *)at->ifa_addr)->sin6_addr;
      if ((family == AF_INET || family == AF_INET6) && inet_ntop(family, address, text, sizeof text))
        json_str(NULL, text);
    }
    json_close(']');
    json_close('}');
  }
  json_close('}');
  json_end();
  freeifaddrs(list);
  return 0;
}

/* With a SERIAL: also whether that key can be described or read from here. */
static int verb_keyring(char **args) {
  char text[512];
  json_begin("keyring");
  json_int("session", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
  json_int("user", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0));
  bool described = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text) > 0;
  json_str("sessionDescription", described ? text : NULL);
  if (args[0]) {
    long serial = strtol(args[0], NULL, 0);
    json_bool("described", syscall(SYS_keyctl, KEYCTL_DESCRIBE, serial, text, sizeof text) >= 0);
    json_bool("read", syscall(SYS_keyctl, KEYCTL_READ, serial, text, sizeof text) >= 0);
  }
  json_end();
  return 0;
}

const struct verb report_verbs[] = {
    {"env", 0, "", verb_env},
    {"ids", 0, "(uids, gids, groups, capabilities, securebits, no_new_privs, seccomp mode)", verb_ids},
    {"process", 0, "(pids, session, dumpable, pdeathsig, personality, nice, oom_score_adj)", verb_process},
    {"fds", 0, "(open fds and what they are)", verb_fds},
    {"cwd", 0, "", verb_cwd},
    {"ls", 1, "PATH", verb_ls},
    {"stat", 1, "PATH", verb_stat},
    {"hostname", 0, "", verb_hostname},
    {"namespaces", 0, "", verb_namespaces},
    {"net", 0, "(interfaces, up, addresses)", verb_net},
    {"keyring", 0, "[SERIAL]", verb_keyring},
    {0},
};
