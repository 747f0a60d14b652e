/*
 * `init`: stays as PID 1, reaps children and ends when told to. It says "up" when its signals are set up, and
 * "stopping" when told to stop.
 */
#include "probe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

enum ending { EXIT, POWEROFF, REBOOT, NEVER };

struct options {
  bool ready;  /* READY=1 to $NOTIFY_SOCKET */
  bool term;   /* SIGTERM stops it too */
  int up_fd;
  int status;  /* of EXIT */
  enum ending ending;
  char **verb; /* run in a child once up */
};

static bool parse(char **args, struct options *options) {
  static const char *const endings[] = {"exit", "poweroff", "reboot", "never"};
  for (; args[0] && strncmp(args[0], "--", 2) == 0; args++) {
    if (strcmp(args[0], "--ready") == 0)
      options->ready = true;
    else if (strcmp(args[0], "--term") == 0)
      options->term = true;
    else if (strcmp(args[0], "--up-fd") == 0 && args[1])
      options->up_fd = atoi(*++args);
    else if (strcmp(args[0], "--status") == 0 && args[1])
      options->status = atoi(*++args);
    else if (strcmp(args[0], "--on-stop") == 0 && args[1]) {
      args++;
      for (int i = EXIT; i <= NEVER; i++)
        if (strcmp(*args, endings[i]) == 0)
          options->ending = (enum ending)i;
    } else
      return false;
  }
  options->verb = args;
  return true;
}

static void say(int fd, const char *text) {
  if (write(fd, text, strlen(text)) < 0)
    return; /* nobody listens; an init does not die of that */
}

static void start_verb(char **words) {
  if (words[0] && fork() == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int status = run_verb(words);
    _exit(status);
  }
}

static void stop(const struct options *options) {
  say(1, "stopping\n");
  switch (options->ending) {
  case EXIT: _exit(options->status);
  /* The kernel ends this namespace's init with SIGINT or SIGHUP: reboot(2). */
  case POWEROFF: reboot(RB_POWER_OFF); break;
  case REBOOT: reboot(RB_AUTOBOOT); break;
  case NEVER: break;
  }
}

static int verb_init(char **args) {
  struct options options = {.up_fd = 1};
  if (!parse(args, &options))
    return EINVAL;
  const int halt = SIGRTMIN + 3; /* systemd(1): start halt.target */
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, halt);
  sigaddset(&wanted, SIGTERM);
  sigprocmask(SIG_BLOCK, &wanted, NULL);

  say(options.up_fd, "up\n");
  if (options.ready && getenv("NOTIFY_SOCKET"))
    run_verb((char *[]){"notify", "READY=1", NULL});
  start_verb(options.verb);
  for (;;) {
    int number = sigwaitinfo(&wanted, NULL);
    if (number == SIGCHLD)
      while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    else if (number == halt || (number == SIGTERM && options.term))
      stop(&options);
  }
}

const struct verb init_verbs[] = {
    {"init", 0, "[--ready] [--term] [--up-fd N] [--status N] [--on-stop exit|poweroff|reboot|never] [VERB ARGS...]",
     verb_init},
    {0},
};
