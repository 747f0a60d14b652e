/*
 * exec-client: `berth exec NAME [--] COMMAND...` in its plainest form (berthd.h), with no terminal among 0 to 2, which berthd takes of this
 * process: it needs this for no more than that, its signals and its end. An answer other than an exit status is NODE's:
 * `exec-answered CONNECTION`.
 */

enum { FAILURE = 125 /* as src/cli/verb.ts has it */ };

#include "berthd.h"

/* The command's words, or 0 if there is more to them than is understood here. */
static char **understood(char **given) {
  if (!is_alphanumeric(**given)) return 0;
  for (char **word = given; *word; word++)
    if (!is_ascii(*word)) return 0;
  char **command = given + 1;
  if (*command && same(*command, "--")) command++;
  return *command && **command != '-' ? command : 0;
}

static void *memory_of(u64 size) {
  i64 memory = call(SYS_mmap, 0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  return memory < 0 ? 0 : (void *)memory;
}

/* Returns its end. */
static char *write_request(char **start, const char *name, char **command) {
  u64 size = 256 + 6 * length_of(name);
  for (char **word = command; *word; word++) size += 3 + 6 * length_of(*word);
  char *to = *start = memory_of(size);
  if (!to) leave_to_node();
  to = append(append_id(to, 1), ",\"method\":\"exec\",\"params\":{\"name\":");
  to = append(append_quoted(to, name), ",\"argv\":[");
  for (char **word = command; *word; word++) {
    if (word != command) *to++ = ',';
    to = append_quoted(to, *word);
  }
  return append(to, "],\"user\":null,\"directory\":null,\"environment\":[],\"stdio\":\"own\"}}\n");
}

/* It is for the command. */
static void pass_on(u32 signal) {
  char hint[64];
  if (signal) send(hint, append(append_number(append(append_id(hint, 1), ",\"signal\":"), signal), "}\n"));
}

/* Ends this process with the command's status; returns if it has none to come. */
static void wait_for_command(void) {
  for (i32 begun = 0;;) {
    enum answer answer = next_line();
    if (answer == OTHER) return;
    if (answer == SIGNAL) {
      pass_on(read_signal());
      continue;
    }
    char *status = after(line, "{\"id\":1,\"result\":{\"status\":");
    if (status) end_with(number_in(&status));
    if (!after(line, "{\"id\":1,\"event\":")) {
      /* Nothing has been done: the daemon could not take what is ours. */
      if (!begun && contains(line, "\"kind\":\"NotSupported\"")) leave_to_node();
      return;
    }
    begun = 1;
    take_line();
  }
}

int main(u64 *stack) {
  words = (char **)stack + 2; /* without our name */
  environment = (char **)stack + stack[0] + 2;
  if (stack[0] <= VERB + 1) end_with(FAILURE);
  char **given = words + VERB + 1, **command = *given ? understood(given) : 0, *start;
  if (!command || !is_open(0, 0) || !is_open(1, 0) || !is_open(2, 0)) leave_to_node();
  connect_to_daemon(HUP | INT | QUIT | TERM);
  char *stop = write_request(&start, *given, command);
  /* Not caught before: who is not read by a berthd that stands still is ended by them. */
  send(start, stop);
  catch(HUP | INT | QUIT | TERM);
  wait_for_command();
  static char its[20];
  append_connection(its);
  char *answered[] = { words[0], words[1], words[2], "exec-answered", its, 0 };
  become(answered);
}
