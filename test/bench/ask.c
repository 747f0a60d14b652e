/*
 * A client of a message bus with as little of its own as can be. Its input is what it sends, each part as a line of
 * hexadecimal digits: the handshake, then messages that are answered before the next one is sent. The last line is sent
 * again for each empty line that follows, and answered with `ns`: from its call to its answer. usage: ask SOCKET
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { METHOD_RETURN = 2, ERROR = 3, HEADER = 16 };

static unsigned char data[1 << 16];
static size_t length;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void receive(int bus) {
  ssize_t count = read(bus, data + length, sizeof data - length);
  if (count <= 0) fail("read");
  length += count;
}

static void drop(size_t count) {
  memmove(data, data + count, length - count);
  length -= count;
}

static uint32_t at(size_t offset) {
  uint32_t value;
  memcpy(&value, data + offset, sizeof value);
  return value;
}

/* Its answer; signals before it are dropped. */
static void answer(int bus) {
  for (;;) {
    while (length < HEADER) receive(bus);
    size_t size = HEADER + (at(12) + 7) / 8 * 8 + at(4);
    while (length < size) receive(bus);
    int type = data[1];
    drop(size);
    if (type == ERROR) exit(3);
    if (type == METHOD_RETURN) return;
  }
}

static void send_all(int bus, const unsigned char *bytes, size_t size) {
  if (write(bus, bytes, size) != (ssize_t)size) fail("write");
}

int main(int argc, char **argv) {
  static char line[1 << 14];
  static unsigned char message[1 << 13];
  size_t size = 0;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  int bus = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(bus, (void *)&address, sizeof address)) fail(argv[1]);
  for (int part = 0; fgets(line, sizeof line, stdin); part++) {
    if (line[0] != '\n') {
      for (size = 0; line[2 * size] != '\n'; size++) sscanf(line + 2 * size, "%2hhx", &message[size]);
      send_all(bus, message, size);
      if (part > 0) answer(bus);
      else do receive(bus); while (!memchr(data, '\n', length));
      if (part == 0) send_all(bus, (const unsigned char *)"BEGIN\r\n", 7), length = 0;
      continue;
    }
    uint64_t begin = now();
    send_all(bus, message, size);
    answer(bus);
    printf("%lu\n", now() - begin);
    fflush(stdout);
  }
}
