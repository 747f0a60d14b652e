/*
 * What the plain clients have in common: berth's verbs in their plainest form, by a berthd that runs, without Node, whose start takes ten
 * times what they do.
 *
 *     VERB-client NODE FLAG BERTH.CJS VERB WORD...
 *
 * What one does not understand, or can't do so, it leaves to what stands behind its name, which it becomes before anything has been done:
 * options, no daemon, words that are not ASCII. It has next to no words: an answer that is to be said in some is left in the
 * connection, which NODE gets (src/cli/quick.ts).
 *
 * Freestanding, as src/stage/stage.c, and compiled with it by .scripts/build-stage. What is said to berthd is in src/manager/protocol.ts.
 * Results of system calls are as in the kernel: -errno. Who includes this has FAILURE, its exit status where it can't go on.
 */

#include "../stage/freestanding.h"

#if defined(__x86_64__)
enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_rt_sigaction = 13, SYS_rt_sigprocmask = 14, SYS_ioctl = 16, SYS_socket = 41,
  SYS_connect = 42, SYS_sendto = 44, SYS_recvfrom = 45, SYS_execve = 59, SYS_fcntl = 72, SYS_geteuid = 107, SYS_exit_group = 231, SYS_openat = 257,
  SYS_readlinkat = 267, SYS_ppoll = 271, SYS_signalfd4 = 289,
  O_DIRECTORY = 0200000
};
#elif defined(__aarch64__)
enum {
  SYS_fcntl = 25, SYS_ioctl = 29, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_signalfd4 = 74,
  SYS_readlinkat = 78, SYS_exit_group = 94, SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135, SYS_geteuid = 175, SYS_socket = 198,
  SYS_connect = 203, SYS_sendto = 206, SYS_recvfrom = 207, SYS_execve = 221, SYS_mmap = 222,
  O_DIRECTORY = 040000
};
#endif
enum {
  AT_FDCWD = -100, O_PATH = 010000000, O_CLOEXEC = 02000000, F_SETFD = 2, TCGETS = 0x5401, PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22,
  AF_UNIX = 1, SOCK_STREAM_CLOEXEC = 02000001, MSG_PEEK = 2, MSG_NOSIGNAL = 0x4000, POLLIN = 1, POLLRDHUP = 0x2000, SIG_BLOCK = 0, SIG_UNBLOCK = 1,
  ENOENT = 2, EINTR = 4, EBADF = 9, EPIPE = 32,
  PATH = 4096, REPLY = 1 << 16,
  VERB = 3 /* where it is among the words */
};

/* A signal's bit in a mask. */
enum { HUP = 1 << 0, INT = 1 << 1, QUIT = 1 << 2, TERM = 1 << 14 };

static char **words, **environment;
static i64 connection, signals;
/* Signals that are read, and not acted on. */
static u64 caught;

/* ---- text ---- */

/* What comes after `start`, if that is what `text` begins with; else 0. */
static char *after(char *text, const char *start) {
  while (*start)
    if (*text++ != *start++) return 0;
  return text;
}

static i32 contains(char *text, const char *part) {
  for (; *text; text++)
    if (after(text, part)) return 1;
  return 0;
}

static i32 same(char *one, const char *other) {
  char *rest = after(one, other);
  return rest && !*rest;
}

static i32 is_ascii(const char *text) {
  while (*text)
    if (*text++ & 0x80) return 0;
  return 1;
}

static i32 is_alphanumeric(char letter) {
  return (letter >= '0' && letter <= '9') || ((letter | 32) >= 'a' && (letter | 32) <= 'z');
}

/* Leaves `text` at what is no digit. */
static u64 number_in(char **text) {
  u64 number = 0;
  while (**text >= '0' && **text <= '9') number = 10 * number + (*(*text)++ - '0');
  return number;
}

/* As JSON. At most six times as long, and two more. */
static char *append_quoted(char *to, const char *text) {
  *to++ = '"';
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') *to++ = '\\';
    if (*text >= ' ') *to++ = *text;
    else {
      to = append(to, "\\u00");
      *to++ = '0' + *text / 16;
      *to++ = "0123456789abcdef"[*text % 16];
    }
  }
  *to++ = '"';
  return to;
}

/* ---- this process, and what it becomes ---- */

static _Noreturn void end_with(u64 status) {
  for (;;) call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static void mask(u64 how, u64 set) {
  call(SYS_rt_sigprocmask, how, (u64)&set, 0, sizeof set, 0, 0);
}

static void catch(u64 set) {
  caught = set;
  mask(SIG_BLOCK, set);
}

static _Noreturn void become(char **argv) {
  static char text[PATH + 128];
  mask(SIG_UNBLOCK, caught);
  i64 result = call(SYS_execve, (u64)argv[0], (u64)argv, (u64)environment, 0, 0, 0);
  char *end = append(text, "berth: execve");
  if (length_of(argv[0]) < PATH) end = append(append(end, " "), argv[0]);
  end = append(append_number(append(end, " failed with errno "), -result), ": berth's runtime can't be executed\n");
  call(SYS_write, 2, (u64)text, end - text, 0, 0, 0);
  end_with(FAILURE);
}

static _Noreturn void leave_to_node(void) {
  become(words);
}

/* If it is closed, it would be the connection. */
static i32 is_open(u32 fd, i32 may_be_terminal) {
  char settings[256];
  i64 result = call(SYS_ioctl, fd, TCGETS, (u64)settings, 0, 0, 0);
  return result < 0 ? result != -EBADF : may_be_terminal;
}

/* ---- berthd ---- */

static char *variable(const char *name) {
  for (char **each = environment; *each; each++) {
    char *value = after(*each, name);
    if (value && *value) return value;
  }
  return 0;
}

/* As src/host/paths.ts has it. `own`: the variable that moves it alone; `part`: its name below BERTH_ROOT. Node resolves `..` by the names. */
static void find_place(char to[2 * PATH], const char *own, const char *part, const char *installed) {
  char *its = variable(own), *root = variable("BERTH_ROOT=");
  const char *given = its ? its : root ? root : installed;
  if (length_of(given) > PATH) leave_to_node();
  *append(append(to, given), its || !root ? "" : part) = 0;
  if (contains(to, "..")) leave_to_node();
}

static i64 open_path(const char *path, u64 flags) {
  return call(SYS_openat, AT_FDCWD, (u64)path, O_PATH | O_CLOEXEC | flags, 0, 0, 0);
}

static char *append_fd_path(char *to, i64 fd) {
  return append_number(append(to, "/proc/self/fd/"), fd);
}

/* And makes what signals are read from. */
static void connect_to_daemon(u64 caught_then) {
  static char path[2 * PATH];
  static struct { unsigned short family; char path[108]; } address = { AF_UNIX, "" };
  find_place(path, "BERTH_RUN=", "/run", "/run/berth");
  i64 directory = open_path(path, O_DIRECTORY);
  if (directory < 0) leave_to_node();
  /* Through its fd: a socket's path may have 107 bytes only. */
  append(append_fd_path(address.path, directory), "/berthd.sock");
  connection = call(SYS_socket, AF_UNIX, SOCK_STREAM_CLOEXEC, 0, 0, 0, 0);
  if (connection < 0 || call(SYS_connect, connection, (u64)&address, sizeof address, 0, 0, 0) < 0) leave_to_node();
  call(SYS_close, directory, 0, 0, 0, 0, 0);
  signals = call(SYS_signalfd4, -1, (u64)&caught_then, sizeof caught_then, O_CLOEXEC, 0, 0);
  if (signals < 0) leave_to_node();
}

/* If berthd has closed it there is no answer, and that is when it is noticed. */
static void send(const char *from, const char *to) {
  while (from < to) {
    i64 sent = call(SYS_sendto, connection, (u64)from, to - from, MSG_NOSIGNAL, 0, 0);
    if (sent < 0 && sent != -EINTR) return;
    if (sent > 0) from += sent;
  }
}

static char *append_id(char *to, u64 id) {
  return append_number(append(to, "{\"id\":"), id);
}

/* The first of what berthd has answered, and its length with its end. It stays in the connection until it is taken, for Node. */
static char line[REPLY];
static u64 length;

enum answer { LINE, SIGNAL, OTHER };

/* Waits for a line, whose end is a 0 then, one of the signals, or what is neither: the end of berthd, a line that is too long. */
static enum answer next_line(void) {
  struct { i32 fd; short events, returned; } polled[2] = { { connection, POLLIN | POLLRDHUP, 0 }, { signals, POLLIN, 0 } };
  for (;;) {
    if (call(SYS_ppoll, (u64)polled, 2, 0, 0, 0, 0) < 0) continue;
    if (polled[1].returned) return SIGNAL;
    i64 count = call(SYS_recvfrom, connection, (u64)line, sizeof line, MSG_PEEK, 0, 0);
    if (count == -EINTR) continue;
    if (count <= 0) return OTHER;
    for (length = 1; length <= (u64)count; length++) {
      if (line[length - 1] != '\n') continue;
      line[length - 1] = 0;
      return LINE;
    }
    if (count == sizeof line || polled[0].returned & ~POLLIN) return OTHER;
    /* Its end is on its way, and poll does not wait for that. */
    struct { i64 seconds, nanoseconds; } a_moment = { 0, 1000000 };
    call(SYS_ppoll, (u64)(polled + 1), 1, (u64)&a_moment, 0, 0, 0);
  }
}

static void take_line(void) {
  while (length > 0) {
    i64 count = call(SYS_read, connection, (u64)line, length, 0, 0, 0);
    if (count > 0) length -= count;
    else if (count != -EINTR) return;
  }
}

/* For Node to go on with. */
static char *append_connection(char *to) {
  call(SYS_fcntl, connection, F_SETFD, 0, 0, 0, 0);
  return append_number(to, connection);
}

/* The signal that has come, 0 if it is none of ours. */
static u32 read_signal(void) {
  u32 signal[32]; /* struct signalfd_siginfo, 128 bytes */
  return call(SYS_read, signals, (u64)signal, sizeof signal, 0, 0, 0) == sizeof signal ? signal[0] : 0;
}
