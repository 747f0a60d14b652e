/* Escape attempts by processes: those outside, their namespaces, and more than a fair share of the processor. */
#include "escape.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROCESSES 4096

/* Its namespace of a kind as /proc shows it; false if that cannot be read, with errno. */
static bool namespace_of(pid_t pid, const char *kind, char text[64]) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
  ssize_t length = readlink(path, text, 63);
  text[length > 0 ? length : 0] = 0;
  return length > 0;
}

static int visible_processes(pid_t pids[], int limit) {
  int count = 0;
  DIR *proc = opendir("/proc");
  for (struct dirent *entry; proc && count < limit && (entry = readdir(proc));)
    if (isdigit((unsigned char)entry->d_name[0]))
      pids[count++] = atoi(entry->d_name);
  if (proc)
    closedir(proc);
  return count;
}

static pid_t pids[PROCESSES];

/* One that may not even be asked for its namespace, or lives in the host's: there should be none to be seen. */
static pid_t find_outsider(void) {
  const char *host = getenv("PROBE_HOST_NS");
  int count = visible_processes(pids, PROCESSES);
  for (int i = 0; i < count; i++) {
    char text[64];
    if (namespace_of(pids[i], "pid", text) ? host && strstr(host, text) != NULL : errno == EACCES || errno == EPERM)
      return pids[i];
  }
  return 0;
}

static enum verdict see_outsiders(const char *argument, char *detail) {
  (void)argument;
  pid_t outsider = find_outsider();
  say(detail, outsider ? "process %d is not of this machine" : "none in /proc", outsider);
  return outsider ? ESCAPED : HELD;
}

static enum verdict signal_outsider(const char *argument, char *detail) {
  (void)argument;
  pid_t outsider = find_outsider();
  if (outsider)
    return refused(kill(outsider, 0), detail);
  say(detail, "none to signal");
  return HELD;
}

static enum verdict trace_outsider(const char *argument, char *detail) {
  (void)argument;
  pid_t outsider = find_outsider();
  if (outsider == getppid() || outsider == getpid())
    outsider = 1;
  if (outsider)
    return refused(ptrace(PTRACE_SEIZE, outsider, NULL, NULL), detail);
  say(detail, "none to trace");
  return HELD;
}

/* -1 = every process the caller may signal: all of the host's, in its pid namespace. */
static enum verdict signal_all(const char *argument, char *detail) {
  (void)argument;
  char text[64];
  const char *host = getenv("PROBE_HOST_NS");
  if (!host) {
    say(detail, "PROBE_HOST_NS is not given");
    return SKIPPED;
  }
  if (namespace_of(getpid(), "pid", text) && !strstr(host, text)) {
    say(detail, "reaches this pid namespace only");
    return HELD;
  }
  return refused(kill(-1, 0), detail);
}

/* Is the machine's namespace of this kind the host's? */
static enum verdict compare_namespace(const char *kind, char *detail) {
  char text[64];
  const char *host = getenv("PROBE_HOST_NS");
  if (!host || !namespace_of(getpid(), kind, text)) {
    say(detail, host ? "no /proc to ask" : "PROBE_HOST_NS is not given");
    return SKIPPED;
  }
  bool shared = strstr(host, text) != NULL;
  say(detail, shared ? "%s is the host's" : "%s is its own", text);
  return shared ? ESCAPED : HELD;
}

/* Any process that can be seen and has a namespace other than ours. */
static enum verdict enter_namespace(const char *kind, char *detail) {
  char own[64], other[64], path[64];
  int count = visible_processes(pids, PROCESSES);
  namespace_of(getpid(), kind, own);
  const char *host = getenv("PROBE_HOST_NS");
  say(detail, "none of another kind to be seen");
  for (int i = 0; i < count; i++) {
    if (!namespace_of(pids[i], kind, other) || strcmp(own, other) == 0 || (host && !strstr(host, other)))
      continue;
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pids[i], kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (refused(fd < 0 ? fd : setns(fd, 0), detail) == ESCAPED)
      return ESCAPED;
    close(fd);
  }
  return HELD;
}

static enum verdict raise_nice(const char *argument, char *detail) {
  (void)argument;
  return refused(setpriority(PRIO_PROCESS, 0, -20), detail);
}

static enum verdict become_realtime(const char *argument, char *detail) {
  (void)argument;
  struct sched_param parameters = {.sched_priority = 1};
  return refused(sched_setscheduler(0, SCHED_FIFO, &parameters), detail);
}

static enum verdict raise_io_priority(const char *argument, char *detail) {
  (void)argument;
  const int self = 1, realtime = 1 << 13; /* IOPRIO_WHO_PROCESS, IOPRIO_CLASS_RT: ioprio_set(2) */
  return refused(syscall(SYS_ioprio_set, self, 0, realtime), detail);
}

/* Below where it started: the host's other processes would be killed first. */
static enum verdict escape_oom(const char *argument, char *detail) {
  (void)argument;
  char text[32];
  if (read_file("/proc/self/oom_score_adj", text, sizeof text) > 0 && atoi(text) < 0) {
    say(detail, "starts with %d", atoi(text));
    return ESCAPED;
  }
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  return refused(fd < 0 ? fd : write(fd, "-1000", 5), detail);
}

const struct attempt process_attempts[] = {
    {"process:see", see_outsiders, NULL},
    {"process:signal", signal_outsider, NULL},
    {"process:signal-all", signal_all, NULL},
    {"process:ptrace", trace_outsider, NULL},
    {"namespace:cgroup", compare_namespace, "cgroup"},
    {"namespace:ipc", compare_namespace, "ipc"},
    {"namespace:mnt", compare_namespace, "mnt"},
    {"namespace:net", compare_namespace, "net"},
    {"namespace:pid", compare_namespace, "pid"},
    {"namespace:user", compare_namespace, "user"},
    {"namespace:uts", compare_namespace, "uts"},
    {"setns:cgroup", enter_namespace, "cgroup"},
    {"setns:ipc", enter_namespace, "ipc"},
    {"setns:mnt", enter_namespace, "mnt"},
    {"setns:net", enter_namespace, "net"},
    {"setns:pid", enter_namespace, "pid"},
    {"setns:user", enter_namespace, "user"},
    {"setns:uts", enter_namespace, "uts"},
    {"share:nice", raise_nice, NULL},
    {"share:fifo", become_realtime, NULL},
    {"share:ioprio", raise_io_priority, NULL},
    {"share:oom", escape_oom, NULL},
    {0},
};
