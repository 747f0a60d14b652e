/* Verbs about the terminal on fds 0 to 2. */
#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static int verb_tty(char **args) {
  (void)args;
  char path[64], target[4096];
  json_begin("tty");
  json_open("isatty", '[');
  for (int fd = 0; fd < 3; fd++)
    json_bool(NULL, isatty(fd));
  json_close(']');
  json_open("names", '[');
  for (int fd = 0; fd < 3; fd++) {
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    json_str(NULL, length > 0 ? target : NULL);
  }
  json_close(']');

  /* /dev/tty opens only for a process with a controlling terminal: tty(4). */
  int controlling = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  json_bool("controlling", controlling >= 0 || (errno != ENXIO && tcgetsid(0) == getsid(0)));
  if (controlling >= 0)
    close(controlling);
  json_int("foreground", tcgetpgrp(0));

  struct winsize size = {0};
  struct termios mode;
  bool sized = ioctl(0, TIOCGWINSZ, &size) == 0;
  json_int("rows", sized ? size.ws_row : -1);
  json_int("columns", sized ? size.ws_col : -1);
  if (tcgetattr(0, &mode) == 0) {
    json_bool("echo", mode.c_lflag & ECHO);
    json_bool("canonical", mode.c_lflag & ICANON);
  }
  json_end();
  return 0;
}

/* Puts a byte into the terminal's input as if typed: what a payload could do to its caller's shell. */
static int verb_tiocsti(char **args) {
  (void)args;
  return ioctl(0, TIOCSTI, "x") < 0 ? errno : 0;
}

const struct verb terminal_verbs[] = {
    {"tty", 0, "(fds 0-2: terminals, names, size, modes)", verb_tty},
    {"tiocsti", 0, "", verb_tiocsti},
    {0},
};
