/*
 * `escape`: what root inside a machine could do to the outside. One line an attempt, `NAME held|ESCAPED|skipped
 * DETAIL`, then `escape: N held, N escaped, N skipped`; exit status 1 if one escaped.
 *
 * Every attempt is made so that success changes nothing: content is written back, a clock is set to its own
 * time, a wrong argument follows the permission check. It may run as root on a host, where most escape.
 *
 * The host leaves marks to look for in PROBE_HOST_NS, _KEY, _SOCKET, _PORT and _FILE (test/lib/probe.ts,
 * canaries()); an attempt whose mark is not given is skipped.
 */
#include "escape.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

void say(char *detail, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(detail, DETAIL, format, args);
  va_end(args);
}

static enum verdict judge(long result, char *detail, const int *harmless) {
  if (result >= 0) {
    say(detail, "succeeded");
    return ESCAPED;
  }
  int error = errno;
  say(detail, "%s", strerrorname_np(error));
  for (; *harmless; harmless++)
    if (error == *harmless)
      return HELD;
  say(detail, "%s: past the permission check", strerrorname_np(error));
  return ESCAPED;
}

enum verdict refused(long result, char *detail) {
  static const int harmless[] = {EPERM, EACCES, EROFS, ENOSYS, ENODEV, ENOENT, ENXIO, EINVAL, EOPNOTSUPP, ENOTDIR, 0};
  return judge(result, detail, harmless);
}

enum verdict refused_strictly(long result, char *detail) {
  static const int harmless[] = {EPERM, EACCES, ENOSYS, 0};
  return judge(result, detail, harmless);
}

bool enter_private_mounts(void) {
  return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool is_kernel_file(int fd) {
  struct statfs fs;
  if (fstatfs(fd, &fs) < 0)
    return false;
  return fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC || fs.f_type == 0x42494e4d /* binfmt_misc */;
}

enum verdict try_open(const char *path, int flags, char *detail) {
  int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0)
    return refused(fd, detail);
  char byte;
  enum verdict verdict = ESCAPED;
  say(detail, "opened");
  if (!is_kernel_file(fd)) {
    say(detail, "masked");
    verdict = HELD;
  } else if (flags == O_RDONLY && read(fd, &byte, 1) != 1) {
    say(detail, "opened, but nothing could be read");
    verdict = HELD;
  }
  close(fd);
  return verdict;
}

enum verdict write_back(const char *path, char *detail) {
  char content[4096];
  long length = read_file(path, content, sizeof content);
  enum verdict verdict = try_open(path, O_WRONLY, detail);
  if (verdict != ESCAPED)
    return verdict;
  if (length < 0) {
    say(detail, "opened for writing");
    return ESCAPED;
  }
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  verdict = refused(fd < 0 ? fd : write(fd, content, (size_t)length), detail);
  close(fd);
  return verdict;
}

enum verdict try_kernel_files(const char *proc, const char *sys, char *detail) {
  static const struct {
    bool in_sys;
    const char *path;
    bool open_only; /* whatever is written there acts */
  } files[] = {{false, "sys/kernel/core_pattern", false},
               {false, "sys/kernel/modprobe", false},
               {false, "sys/vm/swappiness", false},
               {false, "sysrq-trigger", true},
               {true, "kernel/uevent_helper", false},
               {true, "power/state", true},
               {true, "kernel/mm/transparent_hugepage/enabled", true}};
  char path[512], why[DETAIL];
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    snprintf(path, sizeof path, "%s/%s", files[i].in_sys ? sys : proc, files[i].path);
    enum verdict verdict = files[i].open_only ? try_open(path, O_WRONLY, why) : write_back(path, why);
    if (verdict == ESCAPED) {
      say(detail, "%s: %.100s", path, why);
      return ESCAPED;
    }
  }
  return HELD;
}

/* --- running them ------------------------------------------------------------------------------------------ */

struct report {
  enum verdict verdict;
  char detail[DETAIL];
};

static void try_in_child(const struct attempt *attempt, struct report *report) {
  memset(report, 0, sizeof *report);
  pid_t child = fork();
  if (child == 0) {
    alarm(10);
    report->verdict = attempt->run(attempt->argument, report->detail);
    _exit(0);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) < 0) {
    report->verdict = SKIPPED;
    say(report->detail, "could not fork: %s", strerrorname_np(errno));
  } else if (WIFSIGNALED(status)) {
    say(report->detail, WTERMSIG(status) == SIGALRM ? "hung for 10 s" : "killed by signal %d", WTERMSIG(status));
  }
}

static int verb_escape(char **args) {
  static const struct attempt *const tables[] = {file_attempts, mount_attempts, kernel_attempts, process_attempts,
                                                 host_attempts};
  static const char *const words[] = {"held", "ESCAPED", "skipped"};
  int count[3] = {0};
  struct report *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (report == MAP_FAILED)
    return errno;
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
    for (const struct attempt *attempt = tables[t]; attempt->name; attempt++) {
      if (args[0] && strcmp(args[0], attempt->name) != 0)
        continue;
      try_in_child(attempt, report);
      count[report->verdict]++;
      outf("%s %s %s\n", attempt->name, words[report->verdict], report->detail);
      flush();
    }
  }
  outf("escape: %d held, %d escaped, %d skipped\n", count[HELD], count[ESCAPED], count[SKIPPED]);
  flush();
  if (count[ESCAPED] > 0)
    _exit(1);
  return 0;
}

const struct verb escape_verbs[] = {
    {"escape", 0, "[NAME] (attempts to reach out of the machine)", verb_escape},
    {0},
};
