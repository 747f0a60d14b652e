/*
 * exec-client: `berth exec NAME [--] COMMAND...` in its plainest form, by a berthd that runs: Node's start is ten times what the command takes.
 *
 *     exec-client NODE FLAG BERTH.CJS exec NAME [--] COMMAND...
 *
 * What it does not understand, or can't do so, it leaves to what stands behind its name, which it becomes before it has asked berthd for
 * anything: options, a terminal, no daemon, words that are not ASCII. An answer other than an exit status is for NODE to say
 * (src/cli/quick.ts): `exec-answered FD`, where it is in, and nothing if berthd has gone. (Not among the words, which everybody can see.)
 *
 * Freestanding, as src/stage/stage.c, and compiled with it by .scripts/build-stage. berthd takes 0 to 2 of this process, and needs it
 * for no more than that, its signals and its end. Results of system calls are as in the kernel: -errno.
 */

#include "../stage/freestanding.h"

#if defined(__x86_64__)
enum {
  SYS_read = 0, SYS_close = 3, SYS_mmap = 9, SYS_rt_sigprocmask = 14, SYS_ioctl = 16, SYS_socket = 41, SYS_connect = 42, SYS_sendto = 44,
  SYS_write = 1, SYS_mremap = 25, SYS_execve = 59, SYS_exit_group = 231, SYS_openat = 257, SYS_ppoll = 271, SYS_signalfd4 = 289, SYS_memfd_create = 319,
  O_DIRECTORY = 0200000
};
#elif defined(__aarch64__)
enum {
  SYS_ioctl = 29, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_ppoll = 73, SYS_signalfd4 = 74, SYS_exit_group = 94,
  SYS_write = 64, SYS_rt_sigprocmask = 135, SYS_socket = 198, SYS_connect = 203, SYS_sendto = 206, SYS_mremap = 216, SYS_execve = 221, SYS_mmap = 222,
  SYS_memfd_create = 279,
  O_DIRECTORY = 040000
};
#endif
enum {
  AT_FDCWD = -100, O_PATH = 010000000, O_CLOEXEC = 02000000, AF_UNIX = 1, SOCK_STREAM_CLOEXEC = 02000001, MSG_NOSIGNAL = 0x4000, TCGETS = 0x5401,
  PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, POLLIN = 1, SIG_BLOCK = 0, SIG_UNBLOCK = 1,
  EINTR = 4, EBADF = 9, EFAULT = 14,
  PATH = 4096, REPLY = 1 << 16, FAILURE = 125 /* as src/cli/verb.ts has it */, MREMAP_MAYMOVE = 1,
  COMMAND = 4 /* where `exec` is among the words */
};

/* SIGHUP, SIGINT, SIGQUIT and SIGTERM: for what runs. */
static const u64 passed_on = 1UL << 0 | 1UL << 1 | 1UL << 2 | 1UL << 14;

/* What comes after `start`, if that is what `text` begins with; else 0. */
static char *after(char *text, const char *start) {
  while (*start)
    if (*text++ != *start++) return 0;
  return text;
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

static _Noreturn void end_with(u64 status) {
  for (;;) call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static _Noreturn void become(char **words, char **environment) {
  static char text[PATH + 128];
  i64 result = call(SYS_execve, (u64)words[0], (u64)words, (u64)environment, 0, 0, 0);
  char *end = append(text, "berth: execve");
  if (length_of(words[0]) < PATH) end = append(append(end, " "), words[0]);
  end = append(append_number(append(end, " failed with errno "), -result), ": berth's runtime can't be executed\n");
  call(SYS_write, 2, (u64)text, end - text, 0, 0, 0);
  end_with(FAILURE);
}

static char *variable(char **environment, const char *name) {
  for (; *environment; environment++) {
    char *value = after(*environment, name);
    if (value && *value) return value;
  }
  return 0;
}

/* Of the environment, as src/host/paths.ts has it. -errno, or the connection. */
static i64 connect_to_daemon(char **environment) {
  char *run = variable(environment, "BERTH_RUN="), *root = variable(environment, "BERTH_ROOT=");
  static char path[2 * PATH];
  static struct { unsigned short family; char path[108]; } address = { AF_UNIX, "" };
  char *given = run ? run : root ? root : "/run/berth";
  if (length_of(given) > PATH) return -EFAULT;
  *append(append(path, given), run || !root ? "" : "/run") = 0;
  /* Node resolves those by their names. */
  for (char *at = path; *at; at++)
    if (after(at, "..")) return -EFAULT;
  i64 directory = call(SYS_openat, AT_FDCWD, (u64)path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
  if (directory < 0) return directory;
  /* Through its fd: a socket's path may have 107 bytes only. */
  append(append_number(append(address.path, "/proc/self/fd/"), directory), "/berthd.sock");
  i64 connection = call(SYS_socket, AF_UNIX, SOCK_STREAM_CLOEXEC, 0, 0, 0, 0);
  if (connection < 0) return connection;
  i64 result = call(SYS_connect, connection, (u64)&address, sizeof address, 0, 0, 0);
  call(SYS_close, directory, 0, 0, 0, 0, 0);
  return result < 0 ? result : connection;
}

/* The command's words, or 0 if there is more to them than is understood here. */
static char **understood(char **words) {
  char *name = words[0];
  if (!name || !((*name >= '0' && *name <= '9') || ((*name | 32) >= 'a' && (*name | 32) <= 'z'))) return 0;
  for (char **word = words; *word; word++)
    for (char *at = *word; *at; at++)
      if (*at & 0x80) return 0;
  char **command = words + 1;
  if (*command && (*command)[0] == '-' && (*command)[1] == '-' && !(*command)[2]) command++;
  return *command && **command != '-' ? command : 0;
}

/* No terminal is given away; one of the three that is closed would be the connection. */
static i32 can_be_taken(u32 fd) {
  char settings[256];
  i64 result = call(SYS_ioctl, fd, TCGETS, (u64)settings, 0, 0, 0);
  return result < 0 && result != -EBADF;
}

/* If berthd has closed it there is no answer, and that is when it is noticed. */
static void send(i64 connection, const char *from, const char *to) {
  while (from < to) {
    i64 sent = call(SYS_sendto, connection, (u64)from, to - from, MSG_NOSIGNAL, 0, 0);
    if (sent < 0 && sent != -EINTR) return;
    if (sent > 0) from += sent;
  }
}

static void *memory_of(u64 size) {
  i64 memory = call(SYS_mmap, 0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  return memory < 0 ? 0 : (void *)memory;
}

/* What berthd is asked, whose words are in src/manager/protocol.ts. Returns its end; 0: there is no memory. */
static char *write_request(char **start, const char *name, char **command) {
  u64 size = 256 + 6 * length_of(name);
  for (char **word = command; *word; word++) size += 3 + 6 * length_of(*word);
  *start = memory_of(size);
  if (!*start) return 0;
  char *to = append(*start, "{\"id\":1,\"method\":\"exec\",\"params\":{\"name\":");
  to = append(append_quoted(to, name), ",\"argv\":[");
  for (char **word = command; *word; word++) {
    if (word != command) *to++ = ',';
    to = append_quoted(to, *word);
  }
  return append(to, "],\"user\":null,\"directory\":null,\"environment\":[],\"stdio\":\"own\"}}\n");
}

/* A signal has come. */
static void pass_on(i64 connection, i64 signals) {
  u32 signal[32]; /* struct signalfd_siginfo, 128 bytes */
  char line[64];
  if (call(SYS_read, signals, (u64)signal, sizeof signal, 0, 0, 0) != sizeof signal) return;
  send(connection, line, append(append_number(append(line, "{\"id\":1,\"signal\":"), signal[0]), "}\n"));
}

/* Ends this process with the command's status; returns if it has none: a line of berthd's, empty where there was none to come. `begun`: the command has. */
static char *wait_for_answer(i64 connection, i64 signals, i32 *begun) {
  u64 size = REPLY, length = 0;
  char *reply = memory_of(size);
  while (reply) {
    struct { i32 fd; short events, returned; } polled[2] = { { connection, POLLIN, 0 }, { signals, POLLIN, 0 } };
    if (call(SYS_ppoll, (u64)polled, 2, 0, 0, 0, 0) < 0) continue;
    if (polled[1].returned) pass_on(connection, signals);
    if (!polled[0].returned) continue;
    if (length + 1 == size) {
      i64 larger = call(SYS_mremap, (u64)reply, size, 2 * size, MREMAP_MAYMOVE, 0, 0);
      if (larger < 0) break;
      reply = (char *)larger;
      size *= 2;
    }
    i64 count = call(SYS_read, connection, (u64)(reply + length), size - 1 - length, 0, 0, 0);
    if (count == -EINTR) continue;
    if (count <= 0) break;
    char *line = reply, *at = reply + length, *end = at + count;
    for (; at < end; at++) {
      if (*at != '\n') continue;
      *at = 0;
      char *digits = after(line, "{\"id\":1,\"result\":{\"status\":");
      if (digits) {
        u32 status = 0;
        while (*digits >= '0' && *digits <= '9') status = 10 * status + (*digits++ - '0');
        end_with(status);
      }
      if (!after(line, "{\"id\":1,\"event\":")) return line;
      *begun = 1;
      line = at + 1;
    }
    /* What has come of the next one. */
    char *to = reply;
    while (line < end) *to++ = *line++;
    length = to - reply;
  }
  return "";
}

static i32 contains(char *text, const char *part) {
  for (; *text; text++)
    if (after(text, part)) return 1;
  return 0;
}

/* For Node to say. */
static _Noreturn void hand_over(char **words, char **environment, const char *answer) {
  static char fd[20];
  i64 memfd = call(SYS_memfd_create, (u64)"answer", 0, 0, 0, 0, 0);
  const char *end = answer + length_of(answer);
  for (i64 count; answer < end; answer += count)
    if ((count = call(SYS_write, memfd, (u64)answer, end - answer, 0, 0, 0)) <= 0) break;
  append_number(fd, memfd < 0 ? 0 : memfd);
  char *answered[] = { words[0], words[1], words[2], "exec-answered", fd, 0 };
  become(answered, environment);
}

int main(u64 *stack) {
  char **words = (char **)stack + 2, **environment = (char **)stack + stack[0] + 2; /* without our name */
  if (stack[0] <= COMMAND) end_with(FAILURE);
  char **command = understood(words + COMMAND), *start;
  if (!command || !can_be_taken(0) || !can_be_taken(1) || !can_be_taken(2)) become(words, environment);
  i64 connection = connect_to_daemon(environment);
  if (connection < 0) become(words, environment);
  char *end = write_request(&start, words[COMMAND], command);
  if (!end) become(words, environment);
  i64 signals = call(SYS_signalfd4, -1, (u64)&passed_on, sizeof passed_on, O_CLOEXEC, 0, 0);
  if (signals < 0) become(words, environment);
  /* Not before: who is not read by a berthd that stands still is ended by them. */
  send(connection, start, end);
  call(SYS_rt_sigprocmask, SIG_BLOCK, (u64)&passed_on, 0, sizeof passed_on, 0, 0);
  i32 begun = 0;
  char *answer = wait_for_answer(connection, signals, &begun);
  call(SYS_rt_sigprocmask, SIG_UNBLOCK, (u64)&passed_on, 0, sizeof passed_on, 0, 0);
  /* Nothing has been done: the daemon could not take what is ours. */
  if (!begun && contains(answer, "\"kind\":\"NotSupported\"")) become(words, environment);
  hand_over(words, environment, answer);
}
