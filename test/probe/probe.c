/*
 * probe VERB ARGS... [-- VERB ARGS...]...
 *
 * Runs the verbs one after the other and prints one line each: JSON beginning {"verb":"ids", or the bytes asked
 * for (cat, echo, escape). A verb that fails prints {"verb":"mount","error":"EPERM"}, and the exit status is 1
 * if any did, else 0; `exit N` ends with N at once; 2 = called wrongly, with a list of the verbs.
 * Called by the name "init" (a link /sbin/init) it is `probe init --ready ARGS...`.
 */
#include "probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct verb *const tables[] = {report_verbs,   limit_verbs, act_verbs,
                                            terminal_verbs, init_verbs,  escape_verbs};
#define TABLES (sizeof tables / sizeof *tables)

static bool has_spoken;

static void print_usage(void) {
  fprintf(stderr, "usage: probe VERB ARGS... [-- VERB ARGS...]...\n");
  for (size_t t = 0; t < TABLES; t++)
    for (const struct verb *verb = tables[t]; verb->name; verb++)
      fprintf(stderr, "  %s %s\n", verb->name, verb->usage);
}

static const struct verb *find_verb(const char *name) {
  for (size_t t = 0; t < TABLES; t++)
    for (const struct verb *verb = tables[t]; verb->name; verb++)
      if (strcmp(verb->name, name) == 0)
        return verb;
  return NULL;
}

/* Runs one verb with its arguments; answers the probe's exit status so far. */
int run_verb(char **words) {
  const struct verb *verb = words[0] ? find_verb(words[0]) : NULL;
  int count = 0;
  while (words[0] && words[1 + count])
    count++;
  if (!verb || count < verb->least) {
    print_usage();
    return 2;
  }
  has_spoken = false;
  int error = verb->run(words + 1);
  if (error) {
    const char *name = strerrorname_np(error);
    json_begin(verb->name);
    json_str("error", name ? name : "?");
    json_end();
  } else if (!has_spoken) {
    json_begin(verb->name);
    json_bool("ok", true);
    json_end();
  }
  flush();
  return error ? 1 : 0;
}

int main(int argc, char **argv) {
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
  if (argc > 0 && strcmp(slash ? slash + 1 : argv[0], "init") == 0) {
    char *words[64] = {"init", "--ready"};
    for (int i = 1; i < argc && i < 60; i++)
      words[i + 1] = argv[i];
    return run_verb(words);
  }

  int status = argc > 1 ? 0 : run_verb((char *[]){NULL});
  for (int i = 1; i < argc;) {
    int end = i;
    while (end < argc && strcmp(argv[end], "--") != 0)
      end++;
    argv[end] = NULL;
    int result = run_verb(argv + i);
    status = result > status ? result : status;
    i = end + 1;
  }
  return status;
}

/* --- output ------------------------------------------------------------------------------------------------ */

static char buffer[1 << 16];
static size_t used;
static bool first; /* in the innermost object or list */

void flush(void) {
  for (size_t done = 0; done < used;) {
    ssize_t written = write(1, buffer + done, used - done);
    if (written < 0 && errno != EINTR)
      break;
    done += written > 0 ? (size_t)written : 0;
  }
  used = 0;
}

void out(const void *bytes, size_t length) {
  has_spoken = true;
  for (const char *from = bytes; length > 0;) {
    if (used == sizeof buffer)
      flush();
    size_t part = sizeof buffer - used < length ? sizeof buffer - used : length;
    memcpy(buffer + used, from, part);
    used += part;
    from += part;
    length -= part;
  }
}

void outf(const char *format, ...) {
  char text[4096];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  out(text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
}

static void json_string(const char *text) {
  outf("\"");
  for (; *text; text++) {
    unsigned char byte = (unsigned char)*text;
    if (byte == '"' || byte == '\\')
      outf("\\%c", byte);
    else if (byte < 0x20 || byte == 0x7f)
      outf("\\u%04x", byte);
    else
      out(text, 1);
  }
  outf("\"");
}

static void json_key(const char *key) {
  if (!first)
    outf(",");
  first = false;
  if (key) {
    json_string(key);
    outf(":");
  }
}

void json_open(const char *key, char bracket) {
  json_key(key);
  outf("%c", bracket);
  first = true;
}

void json_close(char bracket) {
  outf("%c", bracket);
  first = false;
}

void json_begin(const char *verb) {
  first = true;
  json_open(NULL, '{');
  json_str("verb", verb);
}

void json_end(void) {
  outf("}\n");
  flush();
}

void json_int(const char *key, long long value) {
  json_key(key);
  outf("%lld", value);
}

void json_bool(const char *key, bool value) {
  json_key(key);
  outf(value ? "true" : "false");
}

void json_hex(const char *key, uint64_t value) {
  json_key(key);
  outf("\"%llx\"", (unsigned long long)value);
}

void json_str(const char *key, const char *value) {
  json_key(key);
  if (value)
    json_string(value);
  else
    outf("null");
}
