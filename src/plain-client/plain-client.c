/*
 * plain-client: `berth exec NAME [--] COMMAND...` and `berth start NAME...` without options, for nobody who looks, by a berthd that runs.
 * Node's start is ten times what a command takes, and as much as some starts.
 *
 *     plain-client NODE FLAG BERTH.CJS VERB WORD...
 *
 * What it does not understand, or can't do so, it leaves to what stands behind its name, which it becomes before it has asked berthd for
 * anything: options, a terminal, no daemon, words that are not ASCII. It has next to no words: answers that are to be said in some are for
 * NODE to say (src/cli/quick.ts): `answered VERB LINE...`, the lines that berthd wrote, and an empty one if it has gone.
 *
 * Freestanding, as src/stage/stage.c, and compiled with it by .scripts/build-stage. What is said to berthd is in src/manager/protocol.ts; of
 * who executes a command it takes 0 to 2. Results of system calls are as in the kernel: -errno.
 */

#include "../stage/freestanding.h"

#if defined(__x86_64__)
enum {
  SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_rt_sigprocmask = 14, SYS_ioctl = 16, SYS_socket = 41, SYS_connect = 42, SYS_sendto = 44,
  SYS_execve = 59, SYS_geteuid = 107, SYS_exit_group = 231, SYS_openat = 257, SYS_readlinkat = 267, SYS_ppoll = 271, SYS_signalfd4 = 289,
  O_DIRECTORY = 0200000
};
#elif defined(__aarch64__)
enum {
  SYS_ioctl = 29, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_signalfd4 = 74, SYS_readlinkat = 78,
  SYS_exit_group = 94, SYS_rt_sigprocmask = 135, SYS_geteuid = 175, SYS_socket = 198, SYS_connect = 203, SYS_sendto = 206, SYS_execve = 221,
  SYS_mmap = 222,
  O_DIRECTORY = 040000
};
#endif
enum {
  AT_FDCWD = -100, O_PATH = 010000000, O_CLOEXEC = 02000000, AF_UNIX = 1, SOCK_STREAM_CLOEXEC = 02000001, MSG_NOSIGNAL = 0x4000, TCGETS = 0x5401,
  PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, POLLIN = 1, SIG_BLOCK = 0, SIG_UNBLOCK = 1,
  ENOENT = 2, EINTR = 4, E2BIG = 7, EBADF = 9,
  PATH = 4096, NAME = 64, FD_PATH = 40,
  LINE = 131000,    /* as an argument it may have 128 KiB: execve(2) */
  VERB = 3,         /* where it is among the words */
  AT_ONCE = 200,    /* machines that are started; berthd takes 256 requests */
  KEPT = 4096,      /* lines */
  INTERRUPTED = 130 /* as src/cli/output.ts has it */
};

/* A signal's bit in a mask. */
enum { HUP = 1 << 0, INT = 1 << 1, QUIT = 1 << 2, PIPE = 1 << 12, TERM = 1 << 14 };

static char **words, **environment;
static i64 connection, signals;
static u64 caught;
static char no_line[] = "";

/* ---- text ---- */

static u64 length_of(const char *text) {
  u64 length = 0;
  while (text[length]) length++;
  return length;
}

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

static char *append(char *to, const char *text) {
  while (*text) *to++ = *text++;
  return to;
}

static char *append_number(char *to, u64 number) {
  char digits[20];
  u32 count = 0;
  do digits[count++] = '0' + number % 10;
  while (number /= 10);
  while (count) *to++ = digits[--count];
  return to;
}

/* Ends at what is no digit. */
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

/* ---- what it becomes ---- */

static _Noreturn void end_with(u64 status) {
  for (;;) call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static void mask(u64 how, u64 set) {
  call(SYS_rt_sigprocmask, how, (u64)&set, 0, sizeof set, 0, 0);
}

/* The last words are left out if there are too many. */
static _Noreturn void become(char **argv, u64 count) {
  mask(SIG_UNBLOCK, caught);
  while (call(SYS_execve, (u64)argv[0], (u64)argv, (u64)environment, 0, 0, 0) == -E2BIG && count > VERB) argv[--count] = 0;
  end_with(127);
}

static _Noreturn void leave_to_node(void) {
  become(words, 0);
}

static void *memory_of(u64 size) {
  i64 memory = call(SYS_mmap, 0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  return memory < 0 ? 0 : (void *)memory;
}

/* ---- places, as src/host/paths.ts has them ---- */

static char *variable(const char *name) {
  for (char **each = environment; *each; each++) {
    char *value = after(*each, name);
    if (value && *value) return value;
  }
  return 0;
}

/* `own`: the variable that moves it alone; `part`: its name below BERTH_ROOT. Node resolves `..` by the names, so that is left to it. */
static void find_place(char to[2 * PATH], const char *own, const char *part, const char *installed) {
  char *its = variable(own), *root = variable("BERTH_ROOT=");
  const char *given = its ? its : root ? root : installed;
  if (length_of(given) > PATH) leave_to_node();
  *append(append(to, given), its || !root ? "" : part) = 0;
  if (contains(to, "..") || !is_ascii(to)) leave_to_node();
}

static i64 open_path(const char *path, u64 flags) {
  return call(SYS_openat, AT_FDCWD, (u64)path, O_PATH | O_CLOEXEC | flags, 0, 0, 0);
}

static char *append_fd_path(char *to, i64 fd) {
  return append_number(append(to, "/proc/self/fd/"), fd);
}

/* Quoted, without links; of what is not there, as far as the directory it would be in. */
static char *append_real(char *to, char *path) {
  char real[2 * PATH], fd_path[FD_PATH], *last = "";
  i64 fd = open_path(path, 0);
  if (fd == -ENOENT) {
    char *at = path + length_of(path);
    while (at > path && *at != '/') at--;
    last = at + 1;
    if (at == path || !*last || same(last, ".")) leave_to_node();
    *at = 0;
    fd = open_path(path, 0);
  }
  if (fd < 0) leave_to_node();
  *append_fd_path(fd_path, fd) = 0;
  i64 length = call(SYS_readlinkat, AT_FDCWD, (u64)fd_path, (u64)real, PATH, 0, 0);
  call(SYS_close, fd, 0, 0, 0, 0, 0);
  if (length <= 1 || length == PATH) leave_to_node();
  real[length] = 0;
  if (!is_ascii(real)) leave_to_node();
  if (*last) *append(append(real + length, "/"), last) = 0;
  return append_quoted(to, real);
}

/* ---- what is said to berthd ---- */

static void connect_to_daemon(void) {
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
}

/* If berthd has closed it there is no answer, and that is when it is noticed. */
static void send(const char *from, const char *to) {
  while (from < to) {
    i64 sent = call(SYS_sendto, connection, (u64)from, to - from, MSG_NOSIGNAL, 0, 0);
    if (sent < 0 && sent != -EINTR) return;
    if (sent > 0) from += sent;
  }
}

/* From now on these signals are read. */
static void catch(u64 set) {
  signals = call(SYS_signalfd4, -1, (u64)&set, sizeof set, O_CLOEXEC, 0, 0);
  if (signals < 0) leave_to_node();
  caught = set;
  mask(SIG_BLOCK, set);
}

static char *append_id(char *to, u64 id) {
  return append_number(append(to, "{\"id\":"), id);
}

/* The next line that berthd writes, 0 if there is none to come. `on_signal`: what a signal makes of the wait for it. */
static char *next_line(void (*on_signal)(u64 signal)) {
  static char buffer[LINE + 1], *end = buffer, *line = buffer;
  for (;;) {
    for (char *at = line; at < end; at++) {
      if (*at != '\n') continue;
      *at = 0;
      char *whole = line;
      line = at + 1;
      return whole;
    }
    char *to = buffer;
    while (line < end) *to++ = *line++;
    end = to;
    line = buffer;
    struct { i32 fd; short events, returned; } polled[2] = { { connection, POLLIN, 0 }, { signals, POLLIN, 0 } };
    if (call(SYS_ppoll, (u64)polled, 2, 0, 0, 0, 0) < 0) continue;
    u32 signal[32]; /* struct signalfd_siginfo, 128 bytes */
    if (polled[1].returned && call(SYS_read, signals, (u64)signal, sizeof signal, 0, 0, 0) == sizeof signal) on_signal(signal[0]);
    if (!polled[0].returned) continue;
    i64 count = call(SYS_read, connection, (u64)end, buffer + LINE - end, 0, 0, 0);
    if (count == -EINTR) continue;
    if (count <= 0) return 0;
    end += count;
  }
}

/* ---- exec ---- */


/* It is for what runs. */
static void pass_on(u64 signal) {
  char line[64];
  send(line, append(append_number(append(append_id(line, 1), ",\"signal\":"), signal), "}\n"));
}

/* No terminal is given away; one of the three that is closed would be the connection. */
static i32 is_open(u64 fd, i32 may_be_terminal) {
  char settings[256];
  i64 result = call(SYS_ioctl, fd, TCGETS, (u64)settings, 0, 0, 0);
  return result < 0 ? result != -EBADF : may_be_terminal;
}

static void ask_exec(char *name, char **command) {
  u64 size = 256 + 6 * length_of(name);
  for (char **word = command; *word; word++) size += 3 + 6 * length_of(*word);
  char *request = memory_of(size);
  if (!request) leave_to_node();
  char *to = append(append_id(request, 1), ",\"method\":\"exec\",\"params\":{\"name\":");
  to = append(append_quoted(to, name), ",\"argv\":[");
  for (char **word = command; *word; word++) {
    if (word != command) *to++ = ',';
    to = append_quoted(to, *word);
  }
  send(request, append(to, "],\"user\":null,\"directory\":null,\"environment\":[],\"stdio\":\"own\"}}\n"));
}

static _Noreturn void exec(char **given) {
  char *name = given[0], **command = given + 1;
  if (!name || !is_alphanumeric(*name)) leave_to_node();
  for (char **word = given; *word; word++)
    if (!is_ascii(*word)) leave_to_node();
  if (*command && same(*command, "--")) command++;
  if (!*command || **command == '-') leave_to_node();
  for (u32 fd = 0; fd <= 2; fd++)
    if (!is_open(fd, 0)) leave_to_node();
  connect_to_daemon();
  catch(HUP | INT | QUIT | TERM);
  ask_exec(name, command);
  char *line;
  while ((line = next_line(pass_on))) {
    char *status = after(line, "{\"id\":1,\"result\":{\"status\":");
    if (status) end_with(number_in(&status));
    if (!after(line, "{\"id\":1,\"event\":")) break;
  }
  /* Nothing has been done: the daemon could not take what is ours. */
  if (line && contains(line, "\"kind\":\"NotSupported\"")) leave_to_node();
  char *answered[] = { words[0], words[1], words[2], "answered", "exec", line ? line : no_line, 0 };
  become(answered, 6);
}

/* ---- start ---- */

static u64 machines;
static i32 interrupted;

/* Once; the next one ends this process. The answers are what came of it, when all is undone. */
static void give_up(u64 signal) {
  (void)signal;
  char line[64];
  for (u64 id = 1; id <= machines; id++) send(line, append(append_id(line, id), ",\"cancel\":true}\n"));
  interrupted = 1;
  mask(SIG_UNBLOCK, caught);
}

/* Names that nothing is wrong with, by src/spec/name.ts; some others, too, are left to Node. */
static i32 is_name(char *name) {
  if (!is_alphanumeric(*name) || length_of(name) > NAME || same(name, "host")) return 0;
  for (; *name; name++)
    if (!is_alphanumeric(*name) && *name != '-' && *name != '_') return 0;
  return 1;
}

static void ask_start(char **names) {
  static char places[12 * PATH], path[2 * PATH], request[sizeof places + 256];
  find_place(path, "BERTH_ETC=", "/etc", "/etc/berth");
  char *to = append_real(append(places, "\"places\":{\"etc\":"), path);
  find_place(path, "BERTH_MACHINES=", "/machines", "/var/lib/machines");
  *append(append_real(append(to, ",\"machines\":"), path), "}}\n") = 0;
  catch(HUP | INT | TERM);
  for (u64 id = 1; id <= machines; id++) {
    to = append(append_id(request, id), ",\"method\":\"start\",\"params\":{\"name\":");
    send(request, append(append(append_quoted(to, names[id - 1]), ",\"timeout\":null},"), places));
  }
}

static void say_booting(char **names) {
  char text[NAME + 64], *to;
  to = machines == 1 ? append(text, names[0]) : append(append_number(text, machines), " machines");
  call(SYS_write, 2, (u64)text, append(to, ": booting\n") - text, 0, 0, 0);
}

static char *copy_of(const char *line) {
  char *copy = memory_of(length_of(line) + 1);
  if (copy) append(copy, line);
  return copy;
}

static _Noreturn void start(char **names) {
  for (; names[machines]; machines++) {
    if (!is_name(names[machines])) leave_to_node();
    for (u64 each = 0; each < machines; each++)
      if (same(names[each], names[machines])) leave_to_node();
  }
  if (machines == 0 || machines > AT_ONCE || call(SYS_geteuid, 0, 0, 0, 0, 0, 0) != 0) leave_to_node();
  if (!is_open(0, 1) || !is_open(1, 0) || !is_open(2, 0)) leave_to_node();
  connect_to_daemon();
  ask_start(names);
  mask(SIG_BLOCK, PIPE); /* nobody reads that they boot */
  static char *answered[KEPT + 8];
  u64 kept = 0, failed = 0, booting = 0;
  for (u64 left = machines; left > 0;) {
    char *line = next_line(give_up), *what = line ? after(line, "{\"id\":") : no_line, *copy;
    number_in(&what);
    if (after(what, ",\"event\":{\"status\":") && !booting++) say_booting(names);
    i32 said = after(what, ",\"event\":{\"said\":") != 0, done = after(what, ",\"result\":") != 0;
    if (!said && after(what, ",\"event\":")) continue;
    if (!said) left = line ? left - 1 : 0;
    if (!said && !done) failed++;
    /* That it was interrupted is no news. */
    if (!done && !(interrupted && !said) && kept < KEPT && (copy = copy_of(line ? line : no_line))) answered[VERB + 2 + kept++] = copy;
  }
  interrupted = interrupted && failed;
  if (kept == 0) end_with(interrupted ? INTERRUPTED : 0);
  for (u32 word = 0; word < VERB; word++) answered[word] = words[word];
  answered[VERB] = "answered";
  answered[VERB + 1] = interrupted ? "start-interrupted" : "start";
  become(answered, VERB + 2 + kept);
}

int main(u64 *stack) {
  words = (char **)stack + 2; /* without our name */
  environment = (char **)stack + stack[0] + 2;
  if (stack[0] <= VERB + 1) end_with(127);
  if (same(words[VERB], "exec")) exec(words + VERB + 1);
  if (same(words[VERB], "start")) start(words + VERB + 1);
  leave_to_node();
}
