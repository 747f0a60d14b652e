/* Escape attempts by files: the kernel's handles in /proc and /sys, devices, file handles, directories left open. */
#include "escape.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static enum verdict read_it(const char *path, char *detail) { return try_open(path, O_RDONLY, detail); }
static enum verdict open_to_write(const char *path, char *detail) { return try_open(path, O_WRONLY, detail); }

/* Where a node could be made: any of these that is writable and not nodev. */
static const char *const scratch[] = {"/tmp", "/run", "/dev", "/dev/shm", "/var/tmp", "/"};
#define SCRATCH (sizeof scratch / sizeof *scratch)

static enum verdict make_and_open(mode_t type, dev_t device, char *detail) {
  char path[64];
  say(detail, "no directory takes a node");
  for (size_t i = 0; i < SCRATCH; i++) {
    snprintf(path, sizeof path, "%s/.probe-node", scratch[i]);
    unlink(path);
    if (mknod(path, type | 0600, device) < 0) {
      say(detail, "mknod: %s", strerrorname_np(errno));
      continue;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int error = errno;
    unlink(path);
    if (fd >= 0) {
      say(detail, "made and opened in %s", scratch[i]);
      return ESCAPED;
    }
    say(detail, "made, but open: %s", strerrorname_np(error));
  }
  return HELD;
}

/* "c 1 1"; for "b" the host's first disk, which /proc/partitions shows to everybody. */
static enum verdict make_device(const char *what, char *detail) {
  unsigned major_number = 8, minor_number = 0;
  char text[4096], kind;
  if (strcmp(what, "b") == 0) {
    if (read_file("/proc/partitions", text, sizeof text) > 0)
      sscanf(text, "%*[^\n]%u %u", &major_number, &minor_number);
    return make_and_open(S_IFBLK, makedev(major_number, minor_number), detail);
  }
  sscanf(what, "%c %u %u", &kind, &major_number, &minor_number);
  return make_and_open(S_IFCHR, makedev(major_number, minor_number), detail);
}

/* Nodes that are there already: any disk, or memory and the kernel log. */
static enum verdict open_devices(const char *argument, char *detail) {
  (void)argument;
  DIR *dev = opendir("/dev");
  say(detail, "none that matters in /dev");
  for (struct dirent *entry; dev && (entry = readdir(dev));) {
    struct stat status;
    if (fstatat(dirfd(dev), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
      continue;
    unsigned minor_number = minor(status.st_rdev);
    bool memory = S_ISCHR(status.st_mode) && major(status.st_rdev) == 1 &&
                  (minor_number == 1 || minor_number == 2 || minor_number == 4 || minor_number == 11);
    if (!S_ISBLK(status.st_mode) && !memory)
      continue;
    if (openat(dirfd(dev), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC) >= 0) {
      say(detail, "/dev/%s opened", entry->d_name);
      return ESCAPED;
    }
  }
  return HELD;
}

static bool same_file(const struct stat *one, const struct stat *other) {
  return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/*
 * A handle made up for the root of the file system the tree is on (ext4: inode 2, any generation), as the
 * "shocker" of 2014 did. Since 6.11 root of a user namespace may open handles below its own mount: that is no
 * escape as long as it does not lead out of the tree.
 */
static enum verdict open_made_up_handle(const char *argument, char *detail) {
  (void)argument;
  union {
    struct file_handle handle;
    char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
  } u = {.handle.handle_bytes = MAX_HANDLE_SZ};
  int mount_id;
  if (name_to_handle_at(AT_FDCWD, "/", &u.handle, &mount_id, 0) < 0) {
    say(detail, "name_to_handle_at: %s", strerrorname_np(errno));
    return HELD;
  }
  if (u.handle.handle_type != 1 || u.handle.handle_bytes != 8) {
    say(detail, "the tree's file system has handles of type %d, only ext4's (1) can be made up", u.handle.handle_type);
    return SKIPPED;
  }
  uint32_t inode_and_generation[2] = {2, 0};
  memcpy(u.handle.f_handle, inode_and_generation, sizeof inode_and_generation);
  int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int fd = open_by_handle_at(root, &u.handle, O_RDONLY | O_CLOEXEC);
  struct stat here, there;
  if (fd >= 0 && fstat(fd, &there) == 0 && stat("/", &here) == 0 && same_file(&here, &there)) {
    say(detail, "led to the machine's own root");
    return HELD;
  }
  if (fd < 0 && errno == ESTALE) {
    say(detail, "ESTALE");
    return HELD;
  }
  return refused(fd, detail);
}

/* chroot(2) below an open directory, then climb from there: out of a chroot, not out of a pivoted root. */
static enum verdict climb_from_chroot(const char *argument, char *detail) {
  (void)argument;
  struct stat before, after;
  int outside = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const char *below = access("/proc/self", F_OK) == 0 ? "/proc" : "/dev";
  if (stat("/", &before) < 0 || chroot(below) < 0)
    return refused(-1, detail);
  if (fchdir(outside) < 0)
    return refused(-1, detail);
  for (int i = 0; i < 64; i++)
    if (chdir("..") < 0)
      break;
  if (chroot(".") < 0 || stat("/", &after) < 0)
    return refused(-1, detail);
  bool out_of_it = !same_file(&before, &after);
  say(detail, out_of_it ? "reached another root" : "the root is the top");
  return out_of_it ? ESCAPED : HELD;
}

static enum verdict look_at_open_directories(const char *argument, char *detail) {
  (void)argument;
  for (int fd = 3; fd < 4096; fd++) {
    struct stat status;
    if (fstat(fd, &status) == 0 && (S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode))) {
      say(detail, "fd %d is a %s", fd, S_ISDIR(status.st_mode) ? "directory" : "disk");
      return ESCAPED;
    }
  }
  say(detail, "none");
  return HELD;
}

static enum verdict look_at_cwd(const char *argument, char *detail) {
  (void)argument;
  char path[4096];
  if (!getcwd(path, sizeof path) || path[0] != '/') {
    say(detail, "the working directory is outside the root");
    return ESCAPED;
  }
  say(detail, "%.200s", path);
  return HELD;
}

/* With the host's /proc, PID 1's root is the host's. */
static enum verdict look_through_pid_1(const char *argument, char *detail) {
  (void)argument;
  struct stat here, there;
  if (stat("/proc/1/root/", &there) < 0)
    return refused(-1, detail);
  bool other = stat("/", &here) < 0 || !same_file(&here, &there);
  say(detail, other ? "/proc/1/root is another root" : "the machine's own root");
  return other ? ESCAPED : HELD;
}

const struct attempt file_attempts[] = {
    {"write:core_pattern", write_back, "/proc/sys/kernel/core_pattern"},
    {"write:modprobe", write_back, "/proc/sys/kernel/modprobe"},
    {"write:panic", write_back, "/proc/sys/kernel/panic"},
    {"write:printk", write_back, "/proc/sys/kernel/printk"},
    {"write:swappiness", write_back, "/proc/sys/vm/swappiness"},
    {"write:file-max", write_back, "/proc/sys/fs/file-max"},
    {"write:uevent_helper", write_back, "/sys/kernel/uevent_helper"},
    {"write:hugepages", write_back, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"},
    {"open:sysrq-trigger", open_to_write, "/proc/sysrq-trigger"},
    {"open:binfmt_misc", open_to_write, "/proc/sys/fs/binfmt_misc/register"},
    {"open:power-state", open_to_write, "/sys/power/state"},
    {"open:uevent", open_to_write, "/sys/class/mem/null/uevent"},
    {"open:module-parameters", open_to_write, "/sys/module/printk/parameters/time"},
    {"read:kcore", read_it, "/proc/kcore"},
    {"read:kmsg", read_it, "/proc/kmsg"},
    {"read:timer_list", read_it, "/proc/timer_list"},
    {"read:firmware", read_it, "/sys/firmware/dmi/tables/DMI"},
    {"mknod:disk", make_device, "b"},
    {"mknod:mem", make_device, "c 1 1"},
    {"mknod:port", make_device, "c 1 4"},
    {"mknod:kmsg", make_device, "c 1 11"},
    {"mknod:loop-control", make_device, "c 10 237"},
    {"devices:present", open_devices, NULL},
    {"handle:made-up", open_made_up_handle, NULL},
    {"chroot:climb", climb_from_chroot, NULL},
    {"fd:directories", look_at_open_directories, NULL},
    {"cwd:outside", look_at_cwd, NULL},
    {"proc:1-root", look_through_pid_1, NULL},
    {0},
};
