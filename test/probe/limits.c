/* Verbs about signals, resource limits and the umask. */
#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bit N-1 set = signal N, as in /proc/self/status; asked of the kernel, one signal at a time. */
static int verb_signals(char **args) {
  (void)args;
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  uint64_t blocked = 0, ignored = 0, caught = 0;
  for (int number = 1; number <= 64; number++) {
    uint64_t bit = UINT64_C(1) << (number - 1);
    struct sigaction action;
    if (sigismember(&mask, number) == 1)
      blocked |= bit;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
      ignored |= bit;
    else if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
      caught |= bit;
  }
  json_begin("signals");
  json_hex("blocked", blocked);
  json_hex("ignored", ignored);
  json_hex("caught", caught);
  json_end();
  return 0;
}

/* In the order of the kernel's numbers (asm-generic/resource.h). */
static const char *const limit_names[] = {"cpu",  "fsize", "data",   "stack", "core",     "rss",
                                          "nproc", "nofile", "memlock", "as",  "locks",   "sigpending",
                                          "msgqueue", "nice", "rtprio", "rttime"};

static void json_limit(const char *key, rlim_t value) {
  if (value == RLIM_INFINITY)
    json_str(key, NULL);
  else
    json_int(key, (long long)value);
}

/* {"nofile":{"soft":1024,"hard":null}}; null = unlimited */
static int verb_limits(char **args) {
  (void)args;
  json_begin("limits");
  for (size_t i = 0; i < sizeof limit_names / sizeof *limit_names; i++) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)i, &limit) < 0)
      return errno;
    json_open(limit_names[i], '{');
    json_limit("soft", limit.rlim_cur);
    json_limit("hard", limit.rlim_max);
    json_close('}');
  }
  json_end();
  return 0;
}

static int verb_umask(char **args) {
  (void)args;
  mode_t mask = umask(0);
  umask(mask);
  json_begin("umask");
  json_int("umask", mask);
  json_end();
  return 0;
}

const struct verb limit_verbs[] = {
    {"signals", 0, "(blocked, ignored, caught masks)", verb_signals},
    {"limits", 0, "", verb_limits},
    {"umask", 0, "", verb_umask},
    {0},
};
