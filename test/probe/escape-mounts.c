/* Escape attempts by mounting: file systems of the kernel, fresh copies of /proc and /sys, masks taken away. */
#include "escape.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A directory to mount on. Everything happens in a mount namespace of the attempt's own. */
static const char *place(void) { return access("/tmp", F_OK) == 0 ? "/tmp" : "/"; }

static enum verdict mount_kernel_fs(const char *type, char *detail) {
  if (!enter_private_mounts())
    return refused(-1, detail);
  return refused(mount(type, place(), type, 0, NULL), detail);
}

/* A new procfs or sysfs is no harm in itself, only what it lets through. */
static enum verdict mount_fresh(const char *type, char *detail) {
  if (!enter_private_mounts())
    return refused(-1, detail);
  const char *target = place();
  if (mount(type, target, type, 0, NULL) < 0) {
    say(detail, "%s", strerrorname_np(errno));
    return HELD;
  }
  bool proc = strcmp(type, "proc") == 0;
  say(detail, "mounted, and nothing in it gives way");
  return try_kernel_files(proc ? target : "/nonexistent", proc ? "/nonexistent" : target, detail);
}

/* Mount points below /proc and /sys, the innermost first, by proc_pid_mountinfo(5). */
static int kernel_mounts(char text[], size_t size, char *points[], int limit) {
  int count = 0;
  if (read_file("/proc/self/mountinfo", text, size) <= 0)
    return 0;
  for (char *line = strtok(text, "\n"); line && count < limit; line = strtok(NULL, "\n")) {
    char *field = line;
    for (int i = 0; i < 4 && field; i++)
      field = strchr(field, ' ') ? strchr(field, ' ') + 1 : NULL;
    if (!field)
      continue;
    field[strcspn(field, " ")] = 0;
    if (strncmp(field, "/proc", 5) == 0 || strncmp(field, "/sys", 4) == 0)
      points[count++] = field;
  }
  return count;
}

static char mountinfo[1 << 17];

static enum verdict take_masks_away(const char *how, char *detail) {
  char *points[256];
  if (!enter_private_mounts())
    return refused(-1, detail);
  int count = kernel_mounts(mountinfo, sizeof mountinfo, points, 256), done = 0;
  for (int i = count - 1; i >= 0; i--) {
    bool top = strcmp(points[i], "/proc") == 0 || strcmp(points[i], "/sys") == 0;
    if (strcmp(how, "umount") == 0)
      done += !top && umount2(points[i], MNT_DETACH) == 0;
    else
      done += mount(NULL, points[i], NULL, MS_REMOUNT | MS_BIND, NULL) == 0;
  }
  say(detail, "%d of %d gave way, and nothing behind them", done, count);
  return try_kernel_files("/proc", "/sys", detail);
}

/* A cgroup v1 hierarchy of one's own has a release_agent, which the kernel runs as the host's root. */
static enum verdict mount_cgroup1(const char *argument, char *detail) {
  (void)argument;
  if (!enter_private_mounts())
    return refused(-1, detail);
  const char *target = place();
  enum verdict verdict = refused(mount("cgroup", target, "cgroup", 0, "none,name=berthprobe"), detail);
  umount(target);
  return verdict;
}

/* The real root of a hierarchy has no cgroup.type; that of a cgroup namespace has. */
static enum verdict mount_cgroup2(const char *argument, char *detail) {
  (void)argument;
  if (!enter_private_mounts())
    return refused(-1, detail);
  char path[64];
  const char *target = place();
  if (mount("cgroup2", target, "cgroup2", 0, NULL) < 0) {
    say(detail, "%s", strerrorname_np(errno));
    return HELD;
  }
  snprintf(path, sizeof path, "%s/cgroup.type", target);
  if (access(path, F_OK) == 0) {
    say(detail, "shows the machine's own subtree");
    return HELD;
  }
  snprintf(path, sizeof path, "%s/cgroup.subtree_control", target);
  return refused(open(path, O_WRONLY | O_CLOEXEC), detail);
}

/* release_agent of any v1 hierarchy that is mounted here. */
static enum verdict open_release_agents(const char *argument, char *detail) {
  (void)argument;
  char path[600], *line = mountinfo;
  say(detail, "no v1 hierarchy is mounted");
  if (read_file("/proc/self/mountinfo", mountinfo, sizeof mountinfo) <= 0)
    return HELD;
  for (char *next; line && *line; line = next) {
    next = strchr(line, '\n');
    if (next)
      *next++ = 0;
    char point[512];
    if (!strstr(line, " - cgroup ") || sscanf(line, "%*s %*s %*s %*s %511s", point) != 1)
      continue;
    snprintf(path, sizeof path, "%s/release_agent", point);
    if (refused(open(path, O_WRONLY | O_CLOEXEC), detail) == ESCAPED) {
      say(detail, "%.200s opened", path);
      return ESCAPED;
    }
  }
  return HELD;
}

/* The limits a machine runs under must sit where it cannot write. */
static enum verdict open_limits(const char *argument, char *detail) {
  (void)argument;
  static const char *const names[] = {"memory.max", "pids.max", "cpu.max", "io.max"};
  static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
  char path[128];
  say(detail, "none can be opened");
  for (size_t root = 0; root < 2; root++)
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
      snprintf(path, sizeof path, "%s/%s", roots[root], names[i]);
      if (open(path, O_WRONLY | O_CLOEXEC) >= 0) {
        say(detail, "%s opened", path);
        return ESCAPED;
      }
    }
  return HELD;
}

/* The disk the tree is on, by its own device number, read-only. */
static enum verdict mount_disk(const char *type, char *detail) {
  struct stat root;
  if (!enter_private_mounts() || stat("/", &root) < 0)
    return refused(-1, detail);
  char node[64];
  snprintf(node, sizeof node, "%s/.probe-disk", strcmp(place(), "/") == 0 ? "/dev" : place());
  unlink(node);
  if (mknod(node, S_IFBLK | 0600, root.st_dev) < 0)
    return refused(-1, detail);
  long result = mount(node, place(), type, MS_RDONLY, NULL);
  int error = errno;
  if (result == 0)
    umount2(place(), MNT_DETACH);
  unlink(node);
  errno = error;
  return refused(result, detail);
}

const struct attempt mount_attempts[] = {
    {"mount:devtmpfs", mount_kernel_fs, "devtmpfs"},
    {"mount:debugfs", mount_kernel_fs, "debugfs"},
    {"mount:tracefs", mount_kernel_fs, "tracefs"},
    {"mount:securityfs", mount_kernel_fs, "securityfs"},
    {"mount:configfs", mount_kernel_fs, "configfs"},
    {"mount:pstore", mount_kernel_fs, "pstore"},
    {"mount:efivarfs", mount_kernel_fs, "efivarfs"},
    {"mount:cgroup1", mount_cgroup1, NULL},
    {"mount:cgroup2-root", mount_cgroup2, NULL},
    {"mount:disk", mount_disk, "ext4"},
    {"fresh:proc", mount_fresh, "proc"},
    {"fresh:sysfs", mount_fresh, "sysfs"},
    {"masks:umount", take_masks_away, "umount"},
    {"masks:remount", take_masks_away, "remount"},
    {"cgroup:release_agent", open_release_agents, NULL},
    {"cgroup:limits", open_limits, NULL},
    {0},
};
