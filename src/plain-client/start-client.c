/*
 * start-client: `berth start NAME...` in its plainest form (berthd.h), for nobody who looks: for a script, a unit.
 *
 * It asks for all of them, says that they boot when they do, and ends when they have. With the first answer that is another one, and with a
 * signal, it leaves the rest to NODE:
 *
 *     NODE FLAG BERTH.CJS start-begun CONNECTION BOOTING SIGNAL DONE NAME...
 *
 * BOOTING is 1 if that has been said; SIGNAL is 0 if none has come; DONE has a 1 for each that runs, a 0 for each that does not yet, and
 * nothing for those at the end that berthd has not been asked for because of the signal. Until Node has started, nobody is there to give up
 * what has been asked for if a signal comes: berthd does that, should the connection end.
 */

enum { FAILURE = 1 };

#include "berthd.h"

enum {
  NAME = 64, FD_PATH = 40,
  AT_ONCE = 200, /* as src/cli/each-machine.ts has it */
  SIGPIPE = 13, SIG_IGN = 1, POLLOUT = 4
};

static char **names;
/* Machines, and for how many of them berthd has been asked. */
static u64 machines, asked;
/* 1 for each that runs, 0 for each that does not. */
static char done[AT_ONCE + 1];
static i32 booting;
/* The signal that ends it. */
static u32 signalled;

/* Nothing is wrong with it by src/spec/name.ts; some others, too, are left to Node. */
static i32 is_name(char *name) {
  if (!is_alphanumeric(*name) || length_of(name) > NAME || same(name, "host")) return 0;
  for (; *name; name++)
    if (!is_alphanumeric(*name) && *name != '-' && *name != '_') return 0;
  return 1;
}

static void leave_what_is_not_plain(void) {
  for (; names[machines]; machines++) {
    if (machines == AT_ONCE || !is_name(names[machines])) leave_to_node();
    for (u64 each = 0; each < machines; each++)
      if (same(names[each], names[machines])) leave_to_node();
  }
  if (machines == 0 || call(SYS_geteuid, 0, 0, 0, 0, 0, 0) != 0) leave_to_node();
  if (!is_open(0, 1) || !is_open(1, 0) || !is_open(2, 0)) leave_to_node();
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
  if (length <= 1 || length + 1 + length_of(last) >= PATH) leave_to_node();
  real[length] = 0;
  if (*last) *append(append(real + length, "/"), last) = 0;
  if (!is_ascii(real)) leave_to_node();
  return append_quoted(to, real);
}

enum { NOW, UNTIL_A_SIGNAL };

/* Whether a request, or hints for all, go without waiting. */
static i32 can_send(i32 until) {
  for (;;) {
    struct { i64 seconds, nanoseconds; } now = { 0, 0 };
    struct { i32 fd; short events, returned; } polled[2] = { { connection, POLLOUT, 0 }, { signals, POLLIN, 0 } };
    i64 count = call(SYS_ppoll, (u64)polled, until == NOW ? 1 : 2, until == NOW ? (u64)&now : 0, 0, 0, 0);
    if (count >= 0) return polled[0].returned && !polled[1].returned;
  }
}

static void ask(void) {
  static char places[12 * PATH + 256], path[2 * PATH], request[sizeof places + 256];
  find_place(path, "BERTH_ETC=", "/etc", "/etc/berth");
  char *to = append_real(append(places, ",\"timeout\":null},\"places\":{\"etc\":"), path);
  find_place(path, "BERTH_MACHINES=", "/machines", "/var/lib/machines");
  *append(append_real(append(to, ",\"machines\":"), path), "}}\n") = 0;
  connect_to_daemon(HUP | INT | TERM);
  catch(HUP | INT | TERM);
  for (; asked < machines && can_send(UNTIL_A_SIGNAL); asked++) {
    done[asked] = '0';
    to = append(append_id(request, asked + 1), ",\"method\":\"start\",\"params\":{\"name\":");
    send(request, append(append_quoted(to, names[asked]), places));
  }
  if (!asked) leave_to_node(); /* if the signal does not end it */
}

/* Whether that could be said. */
static i32 say_booting(void) {
  static const u64 ignored[4] = { SIG_IGN }; /* struct sigaction of the kernel */
  call(SYS_rt_sigaction, SIGPIPE, (u64)ignored, 0, sizeof caught, 0, 0);
  char text[NAME + 64], *to;
  to = machines == 1 ? append(text, names[0]) : append(append_number(text, machines), " machines");
  i64 length = append(to, ": booting\n") - text, count = call(SYS_write, 2, (u64)text, length, 0, 0, 0);
  return count == length || count == -EPIPE;
}

/* Ends this process when all run; returns when there is more to be done than to wait. */
static void wait_for_machines(void) {
  for (u64 left = asked; left > 0; take_line()) {
    enum answer answer = next_line();
    if (answer == SIGNAL) signalled = read_signal();
    char *rest = answer == LINE ? after(line, "{\"id\":") : 0;
    u64 id = rest ? number_in(&rest) : 0;
    if (id == 0 || id > asked) return;
    if (same(rest, ",\"result\":null}") && done[id - 1] == '0') {
      done[id - 1] = '1';
      left--;
    } else if (!after(rest, ",\"event\":{\"status\":") || !(booting = booting || say_booting())) {
      return;
    }
  }
  end_with(0);
}

/* What is to become of those that do not run yet. Where berthd reads nothing, a signal is for Node to pass on, which can be ended. */
static void send_hints(void) {
  if (!signalled && !can_send(UNTIL_A_SIGNAL)) signalled = read_signal();
  if (!can_send(NOW)) return;
  const char *hint = signalled ? ",\"cancel\":true}\n" : ",\"cancelIfGone\":true}\n";
  for (u64 id = 1; id <= asked; id++) {
    char text[64];
    if (done[id - 1] == '0') send(text, append(append_id(text, id), hint));
  }
}

static _Noreturn void leave_rest_to_node(void) {
  static char its[20], signal[20], *begun[9 + AT_ONCE];
  u32 count = 0;
  while (count < VERB) begun[count] = words[count], count++;
  append_connection(its);
  append_number(signal, signalled);
  char *how[] = { "start-begun", its, booting ? "1" : "0", signal, done };
  for (u32 each = 0; each < 5; each++) begun[count++] = how[each];
  for (u64 each = 0; each < machines; each++) begun[count++] = names[each];
  become(begun);
}

int main(u64 *stack) {
  words = (char **)stack + 2; /* without our name */
  environment = (char **)stack + stack[0] + 2;
  if (stack[0] <= VERB + 1) end_with(FAILURE);
  names = words + VERB + 1;
  leave_what_is_not_plain();
  ask();
  wait_for_machines();
  send_hints();
  leave_rest_to_node();
}
