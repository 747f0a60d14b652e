/* Escape attempts on the marks the host left to be found: a key, sockets, a file. */
#include "escape.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* The mark, or NULL and a detail that says which is not given. */
static const char *mark(const char *name, char *detail) {
  const char *value = getenv(name);
  if (!value)
    say(detail, "%s is not given", name);
  return value;
}

static enum verdict connect_to(const void *address, socklen_t length, int family, char *detail) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, address, length) < 0) {
    say(detail, "%s", strerrorname_np(errno));
    return HELD;
  }
  return refused(fd, detail);
}

static enum verdict read_key(const char *argument, char *detail) {
  (void)argument;
  const char *serial = mark("PROBE_HOST_KEY", detail);
  char text[256];
  if (!serial)
    return SKIPPED;
  long result = syscall(SYS_keyctl, KEYCTL_READ, atol(serial), text, sizeof text);
  if (result < 0)
    result = syscall(SYS_keyctl, KEYCTL_DESCRIBE, atol(serial), text, sizeof text);
  if (result < 0 && errno == ENOKEY) {
    say(detail, "ENOKEY");
    return HELD;
  }
  return refused(result, detail);
}

/* By name, in the keyrings a process has without asking for one. */
static enum verdict search_key(const char *argument, char *detail) {
  (void)argument;
  static const int rings[] = {KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING, KEY_SPEC_USER_SESSION_KEYRING};
  const char *name = mark("PROBE_HOST_KEY_NAME", detail);
  if (!name)
    return SKIPPED;
  say(detail, "not in the session's, the user's or the user session's keyring");
  for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
    if (syscall(SYS_keyctl, KEYCTL_SEARCH, rings[i], "user", name, 0) >= 0) {
      say(detail, "found");
      return ESCAPED;
    }
  }
  return HELD;
}

static enum verdict connect_abstract(const char *argument, char *detail) {
  (void)argument;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *name = mark("PROBE_HOST_SOCKET", detail);
  if (!name)
    return SKIPPED;
  size_t length = strlen(name);
  if (length > sizeof address.sun_path - 1)
    length = sizeof address.sun_path - 1;
  memcpy(address.sun_path + 1, name, length);
  return connect_to(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length), AF_UNIX, detail);
}

static enum verdict connect_loopback(const char *argument, char *detail) {
  (void)argument;
  const char *port = mark("PROBE_HOST_PORT", detail);
  if (!port)
    return SKIPPED;
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return connect_to(&address, sizeof address, AF_INET, detail);
}

static enum verdict open_file(const char *argument, char *detail) {
  (void)argument;
  const char *path = mark("PROBE_HOST_FILE", detail);
  if (!path)
    return SKIPPED;
  return refused(open(path, O_RDONLY | O_CLOEXEC), detail);
}

const struct attempt host_attempts[] = {
    {"host:key", read_key, NULL},
    {"host:key-search", search_key, NULL},
    {"host:abstract-socket", connect_abstract, NULL},
    {"host:loopback", connect_loopback, NULL},
    {"host:file", open_file, NULL},
    {0},
};
