/*
 * The probe: a static program that runs as PID 1 or any payload of a test machine and tells what it sees.
 * probe.c says how it is called. One file a topic, each with a table of verbs.
 */
#ifndef PROBE_H
#define PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A verb answers 0 or an errno value. What it has to say goes through out() or json_*(); if that is nothing,
 * the probe prints its verb and "ok". */
struct verb {
  const char *name;
  int least; /* arguments it cannot do without */
  const char *usage;
  int (*run)(char **args); /* ends with NULL */
};

extern const struct verb report_verbs[], limit_verbs[], act_verbs[], terminal_verbs[], init_verbs[], escape_verbs[];

int run_verb(char **words);

/* Output is collected and written at once, so that lines of several processes do not mix. */
void out(const void *bytes, size_t length);
void outf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void flush(void);

/* One line of JSON: json_begin("ids"); json_int("uid", 0); json_end(). Keys may be NULL inside a list. */
void json_begin(const char *verb);
void json_end(void);
void json_int(const char *key, long long value);
void json_bool(const char *key, bool value);
void json_hex(const char *key, uint64_t value); /* a string: JSON numbers end at 2^53 */
void json_str(const char *key, const char *value); /* NULL: null */
void json_open(const char *key, char bracket); /* '{' or '[' */
void json_close(char bracket);

/* Whole small files, NUL-terminated; negative errno on failure. */
long read_file(const char *path, char *buffer, size_t size);

#endif
