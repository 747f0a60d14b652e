/*
 * Times a command with as little of its own as can be: for each line on standard input it runs the command with stdio
 * on /dev/null, waits for it, and answers `ns status`: wall time from the call to the exit that was noticed, and the
 * exit status (128 + signal).
 *
 *   stopwatch PROGRAM [ARG...]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

int main(int argc, char **argv) {
  posix_spawn_file_actions_t stdio;
  posix_spawn_file_actions_init(&stdio);
  for (int fd = 0; fd < 3; fd++) posix_spawn_file_actions_addopen(&stdio, fd, "/dev/null", O_RDWR, 0);
  if (argc < 2) return 2;
  for (char line[16]; fgets(line, sizeof line, stdin);) {
    pid_t pid;
    int status = 0;
    uint64_t begin = now();
    if (posix_spawnp(&pid, argv[1], &stdio, 0, argv + 1, environ) == 0) waitpid(pid, &status, 0);
    else status = 127 << 8;
    printf("%lu %d\n", now() - begin, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    fflush(stdout);
  }
}
