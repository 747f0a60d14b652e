/* The escape test: attempts by topic, one table a file, run by escape.c. */
#ifndef ESCAPE_H
#define ESCAPE_H

#include "probe.h"

enum verdict { HELD, ESCAPED, SKIPPED };

#define DETAIL 256

struct attempt {
  const char *name;
  /* Runs in a child of its own, which may change and break what it likes of itself. */
  enum verdict (*run)(const char *argument, char *detail);
  const char *argument;
};

extern const struct attempt file_attempts[], mount_attempts[], kernel_attempts[], process_attempts[], host_attempts[];

void say(char *detail, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The verdict on a call that only root of the host may make: `result` < 0 with one of EPERM, EACCES, EROFS, ENOSYS
 * (or ENODEV, ENOENT, EINVAL, EOPNOTSUPP: not there) held; success escaped. */
enum verdict refused(long result, char *detail);

/* The same where any other error would mean that the permission check was passed. */
enum verdict refused_strictly(long result, char *detail);

/* Is there an own mount namespace to try things in? Mounts made in it go with the child. */
bool enter_private_mounts(void);

/* A file of procfs or sysfs could really be opened (a mask over it opens too, and is something else). */
enum verdict try_open(const char *path, int flags, char *detail);

/* Its content could be written back to it: proof of writing that changes nothing. */
enum verdict write_back(const char *path, char *detail);

/* The first of the kernel's well-known handles under this /proc and /sys that gives way. */
enum verdict try_kernel_files(const char *proc, const char *sys, char *detail);

#endif
