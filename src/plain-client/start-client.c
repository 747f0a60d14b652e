/*
 * start-client: `berth start NAME...` in its plainest form (berthd.h), for nobody who looks: for a script, a unit.
 *
 * It asks for all of them, says that they boot when they do, and ends when they have. With the first answer that is another one, and with a
 * signal that ends it, it leaves the rest to NODE: `start-begun`, which gets the connection, and what has come of it.
 */

enum { FAILURE = 1 };

#include "berthd.h"

enum {
  NAME = 64, FD_PATH = 40,
  AT_ONCE = 200, /* as src/cli/each-machine.ts has it */
  F_SETFD = 2, SIGPIPE = 13, SIG_IGN = 1
};

static char **names;
static u64 machines;
/* Those that run. */
static char done[AT_ONCE + 1];
static i32 booting, interrupted;

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
  if (length <= 1 || length == PATH) leave_to_node();
  real[length] = 0;
  if (*last) *append(append(real + length, "/"), last) = 0;
  if (!is_ascii(real)) leave_to_node();
  return append_quoted(to, real);
}

static void ask(void) {
  static char places[12 * PATH + 256], path[2 * PATH], request[sizeof places + 256];
  find_place(path, "BERTH_ETC=", "/etc", "/etc/berth");
  char *to = append_real(append(places, ",\"timeout\":null},\"places\":{\"etc\":"), path);
  find_place(path, "BERTH_MACHINES=", "/machines", "/var/lib/machines");
  *append(append_real(append(to, ",\"machines\":"), path), "}}\n") = 0;
  connect_to_daemon(HUP | INT | TERM);
  for (u64 id = 1; id <= machines; id++) {
    to = append(append_id(request, id), ",\"method\":\"start\",\"params\":{\"name\":");
    send(request, append(append_quoted(to, names[id - 1]), places));
  }
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

/* Ends this process when all run; returns with what there is more to be done for than to wait. */
static enum answer wait_for_machines(void) {
  enum answer answer;
  for (u64 left = machines; (answer = next_line()) == LINE;) {
    char *rest = after(line, "{\"id\":");
    u64 id = rest ? number_in(&rest) : 0;
    if (id == 0 || id > machines) break;
    if (same(rest, ",\"result\":null}") && !done[id]) {
      done[id] = 1;
      if (--left == 0) end_with(0);
    } else if (!after(rest, ",\"event\":{\"status\":") || !(booting = booting || say_booting())) break;
  }
  return answer;
}

static char *append_truth(char *to, i32 truth) {
  return append(to, truth ? "true" : "false");
}

/* What NODE goes on from: a line of JSON (src/cli/start-plainly.ts), and what berthd has answered and will be answering. */
static void write_state(void) {
  static char text[256 + AT_ONCE * (NAME + 64)];
  char *to = append(append_truth(append(text, "{\"booting\":"), booting), ",\"interrupted\":");
  to = append(append_number(append(append_truth(to, interrupted), ",\"connection\":"), connection), ",\"names\":[");
  for (u64 each = 0; each < machines; each++) {
    if (each) *to++ = ',';
    to = append_quoted(to, names[each]);
  }
  to = append(to, "]}\n");
  for (u64 id = 1; id <= machines; id++)
    if (done[id]) to = append(append_id(to, id), ",\"result\":null}\n");
  write_handed(text, to);
}

int main(u64 *stack) {
  words = (char **)stack + 2; /* without our name */
  environment = (char **)stack + stack[0] + 2;
  if (stack[0] <= VERB + 1) end_with(FAILURE);
  names = words + VERB + 1;
  leave_what_is_not_plain();
  ask();
  /* Not caught before: who is not read by a berthd that stands still is ended by them. */
  catch(HUP | INT | TERM);
  enum answer answer = wait_for_machines();
  interrupted = answer == SIGNAL && read_signal();
  write_state();
  if (answer == LINE) next[-1] = '\n';
  write_handed(answer == LINE ? line : next, end);
  call(SYS_fcntl, connection, F_SETFD, 0, 0, 0, 0);
  hand_over("start-begun");
}
