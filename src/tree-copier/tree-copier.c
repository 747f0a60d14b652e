/*
 * tree-copier: copies what is in a directory, its fd 0, to another one, its working directory: all there is of owners, modes, times,
 * hard links, holes, ACLs and extended attributes; blocks are shared where the file system can. What has a name there already stays.
 *
 *     tree-copier THREADS n[x][p][d]     x: without what is mounted in it; p: say how far it is; d: who opens a device there gets it
 *
 * Freestanding, as src/stage/stage.c, and compiled with it by .scripts/build-stage. In the tree nothing is gone to by a path: each
 * entry is opened in a directory that is open, and no link is followed, so that whoever changes it meanwhile can't lead out of it.
 *
 * A directory is a task. Threads take the one that was found last; what has been found in it are tasks again. So few are open at a
 * time, some for each level that the tree is deep: a directory is until those in it have been opened, too. Then it gets what it has besides
 * entries. A tree that is deeper than RLIMIT_NOFILE allows is refused.
 *
 * On stdout, each with a zero at its end: "P entries blocks" (of 512 bytes, done by now), and "E errno call path", after which it
 * ends with status 1. What has gone meanwhile is not copied, and no error. Results of system calls are as in the kernel: -errno.
 */

#include "../stage/freestanding.h"

typedef unsigned short u16;
typedef unsigned char u8;

#if defined(__x86_64__)
enum {
  SYS_write = 1, SYS_close = 3, SYS_lseek = 8, SYS_mmap = 9, SYS_ioctl = 16, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_ftruncate = 77, SYS_fchdir = 81,
  SYS_fchmod = 91, SYS_fchown = 93, SYS_umask = 95, SYS_getegid = 108, SYS_prctl = 157, SYS_lsetxattr = 189, SYS_fsetxattr = 190, SYS_lgetxattr = 192,
  SYS_fgetxattr = 193, SYS_llistxattr = 195, SYS_flistxattr = 196, SYS_fremovexattr = 199, SYS_futex = 202, SYS_getdents64 = 217,
  SYS_exit_group = 231, SYS_openat = 257, SYS_mkdirat = 258, SYS_mknodat = 259, SYS_fchownat = 260, SYS_linkat = 265,
  SYS_symlinkat = 266, SYS_readlinkat = 267, SYS_fchmodat = 268, SYS_utimensat = 280, SYS_prlimit64 = 302,
  SYS_copy_file_range = 326, SYS_statx = 332,
  O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000
};
/* clone3(2); the new thread has another stack and goes on in `run`, which does not return. */
static i64 start_thread(u64 arguments, u64 size, void (*run)(void)) {
  i64 result;
  __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%4\n1:"
                   : "=a"(result) : "a"(435L), "D"(arguments), "S"(size), "d"(run) : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
enum {
  SYS_lsetxattr = 6, SYS_fsetxattr = 7, SYS_lgetxattr = 9, SYS_fgetxattr = 10, SYS_llistxattr = 12, SYS_flistxattr = 13,
  SYS_fremovexattr = 16, SYS_ioctl = 29, SYS_mknodat = 33, SYS_mkdirat = 34, SYS_symlinkat = 36, SYS_linkat = 37, SYS_ftruncate = 46,
  SYS_fchdir = 50, SYS_fchmod = 52, SYS_fchmodat = 53, SYS_fchownat = 54, SYS_fchown = 55, SYS_openat = 56, SYS_close = 57,
  SYS_getdents64 = 61, SYS_lseek = 62, SYS_write = 64, SYS_pread64 = 67, SYS_pwrite64 = 68, SYS_readlinkat = 78, SYS_utimensat = 88,
  SYS_exit_group = 94, SYS_futex = 98, SYS_umask = 166, SYS_prctl = 167, SYS_getegid = 177, SYS_mmap = 222, SYS_prlimit64 = 261,
  SYS_copy_file_range = 285, SYS_statx = 291,
  O_DIRECTORY = 040000, O_NOFOLLOW = 0100000
};
static i64 start_thread(u64 arguments, u64 size, void (*run)(void)) {
  register u64 x8 __asm__("x8") = 435;
  register u64 x0 __asm__("x0") = arguments;
  register u64 x1 __asm__("x1") = size;
  register u64 x9 __asm__("x9") = (u64)run;
  __asm__ volatile("svc 0\n cbnz x0, 1f\n mov x29, 0\n blr x9\n1:" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x9) : "x30", "memory");
  return x0;
}
#endif
enum {
  O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000, O_CLOEXEC = 02000000, O_PATH = 010000000, AT_FDCWD = -100,
  AT_SYMLINK_NOFOLLOW = 0x100, AT_EMPTY_PATH = 0x1000, STATX_WITH_BTIME = 0xfff, FICLONE = 0x40049409,
  SEEK_SET = 0, SEEK_DATA = 3, SEEK_HOLE = 4, RLIMIT_NOFILE = 7, PR_SET_NAME = 15, FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129,
  THREAD = 0x50d00, /* CLONE_VM, FILES, SIGHAND, THREAD, SYSVSEM; the working directory is each one's own */
  PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, ALL = 0x7fffffff,
  EPERM = 1, ENOENT = 2, ENXIO = 6, E2BIG = 7, EAGAIN = 11, EACCES = 13, EEXIST = 17, ENOTDIR = 20, EINVAL = 22, EMLINK = 31, ERANGE = 34, ENAMETOOLONG = 36, ELOOP = 40, ENODATA = 61,
  EOPNOTSUPP = 95, ESTALE = 116,
  S_IFMT = 0170000, S_IFDIR = 0040000, S_IFREG = 0100000, S_IFLNK = 0120000, DT_DIR = 4, DT_REG = 8,
  PATH = 4096, FD_PATH = 40, XATTR_MAX = 65536, /* a list of names, and a value: xattr(7) */
  ENTRIES = 32768, STACK = 1 << 18, CHUNK = 1 << 20, PIECE = 32 << 20, BUCKETS = 1 << 16, CHANGES = 32
};

struct time { i64 seconds; u32 nanoseconds; i32 padding; };

/* statx(2) */
struct status {
  u32 mask, block_size;
  u64 attributes;
  u32 links, uid, gid;
  u16 mode, padding;
  u64 inode, size, blocks, supported;
  struct time atime, btime, ctime, mtime;
  u32 special_major, special_minor, major, minor;
  u64 more[14];
};

struct entry { u64 inode, offset; u16 length; u8 type; char name[]; };

struct directory {
  struct directory *parent, *next;
  i64 from, to;
  i64 uses; /* by itself, and by each one in it that has not been opened yet */
  struct { i64 seconds, nanoseconds; } times[2];
  u32 uid, gid, mode;
  char name[];
};

/* A file with more than one name, and the first of them that was copied. */
struct file {
  struct file *next;
  u64 device, inode;
  struct time born; /* another one may have the number by now */
  struct directory *directory;
  char name[];
};

static struct directory *root;
static u64 root_device, target_device, target_inode;
static u32 one_file_system, devices_open, own_group;
static u64 entries_done, blocks_done;
static u32 finished;

/* ---- what it says ---- */

static void write_fd_path(char path[FD_PATH], i64 fd) {
  *append_number(append(path, "/proc/self/fd/"), fd) = 0;
}

/* The path below the root, at the end of `buffer`; 0: it is too long. */
static char *path_of(struct directory *in, const char *name, char buffer[PATH]) {
  u64 at = PATH - 1;
  buffer[at] = 0;
  for (;;) {
    u64 length = length_of(name);
    if (length + 1 > at) return 0;
    at -= length;
    for (u64 i = 0; i < length; i++) buffer[at + i] = name[i];
    if (!in || !in->parent) return buffer + at;
    buffer[--at] = '/';
    name = in->name;
    in = in->parent;
  }
}

_Noreturn static void leave(i64 status) {
  for (;;) call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

static u32 failing;

_Noreturn static void fail(const char *what, i64 result, struct directory *in, const char *name) {
  static char said[PATH + 64], buffer[PATH];
  if (__atomic_exchange_n(&failing, 1, __ATOMIC_ACQ_REL)) /* another thread is at it */
    for (;;) call(SYS_futex, (u64)&failing, FUTEX_WAIT_PRIVATE, 1, 0, 0, 0);
  char *path = path_of(in, name, buffer);
  char *end = append_number(append(said, "E "), -result);
  end = append(append(append(append(end, " "), what), " "), path ? path : name);
  call(SYS_write, 1, (u64)said, end + 1 - said, 0, 0, 0);
  leave(1);
}

static void say_progress(void) {
  char said[64];
  if (__atomic_load_n(&failing, __ATOMIC_ACQUIRE)) return; /* it would come amid what is said then */
  char *end = append_number(append(said, "P "), __atomic_load_n(&entries_done, __ATOMIC_RELAXED));
  end = append_number(append(end, " "), __atomic_load_n(&blocks_done, __ATOMIC_RELAXED));
  *end++ = 0;
  call(SYS_write, 1, (u64)said, end - said, 0, 0, 0);
}

/* ---- threads ---- */

/* 0: free, 1: held, 2: held, and somebody waits: "Futexes are tricky", Drepper. */
static void lock(u32 *word) {
  u32 free = 0;
  if (__atomic_compare_exchange_n(word, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
  while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE)) call(SYS_futex, (u64)word, FUTEX_WAIT_PRIVATE, 2, 0, 0, 0);
}

static void unlock(u32 *word) {
  if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2) call(SYS_futex, (u64)word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static u32 memory_lock;

/* Stays until the end: some 100 bytes for a directory, and for a file with more than one name. */
static void *allocate(u64 size) {
  static u64 at, end;
  size = (size + 7) & ~7UL;
  lock(&memory_lock);
  if (end - at < size) {
    i64 mapped = call(SYS_mmap, 0, CHUNK, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (mapped < 0 && mapped > -PATH) fail("mmap", mapped, 0, "");
    at = mapped;
    end = at + CHUNK;
  }
  void *found = (void *)at;
  at += size;
  unlock(&memory_lock);
  return found;
}

static u32 tasks_lock;
static struct directory *tasks;
static u64 unfinished;  /* of all that were ever found */
static u32 tasks_found; /* a number that is another one when there is something to be looked at */

static void add_task(struct directory *in, const char *name) {
  u64 length = length_of(name) + 1;
  struct directory *found = allocate(sizeof *found + length);
  for (u64 i = 0; i < length; i++) found->name[i] = name[i];
  found->parent = in;
  found->uses = 1;
  if (in) __atomic_add_fetch(&in->uses, 1, __ATOMIC_RELAXED);
  lock(&tasks_lock);
  found->next = tasks;
  tasks = found;
  unfinished++;
  tasks_found++;
  unlock(&tasks_lock);
  call(SYS_futex, (u64)&tasks_found, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

/* 0: all is done. */
static struct directory *next_task(void) {
  for (;;) {
    lock(&tasks_lock);
    struct directory *found = tasks;
    u32 seen = tasks_found;
    u64 left = unfinished;
    if (found) tasks = found->next;
    unlock(&tasks_lock);
    if (found || !left) return found;
    call(SYS_futex, (u64)&tasks_found, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
  }
}

static void end_task(void) {
  lock(&tasks_lock);
  u64 left = --unfinished;
  if (!left) tasks_found++;
  unlock(&tasks_lock);
  if (left) return;
  call(SYS_futex, (u64)&tasks_found, FUTEX_WAKE_PRIVATE, ALL, 0, 0, 0);
  __atomic_store_n(&finished, 1, __ATOMIC_RELEASE);
  call(SYS_futex, (u64)&finished, FUTEX_WAKE_PRIVATE, ALL, 0, 0, 0);
}

/* ---- attributes ---- */

static u32 is_gone(i64 result) {
  return result == -ENOENT || result == -ESTALE;
}

static u32 begins_with(const char *text, const char *beginning) {
  while (*beginning)
    if (*text++ != *beginning++) return 0;
  return 1;
}

struct buffers { char entries[ENTRIES], names[XATTR_MAX], value[XATTR_MAX], path[PATH]; };

/* What was opened on both sides; or by its name, where that can't be: then both fds are -1. */
struct place { struct directory *in; const char *name; i64 from, to; };

/* The working directory is for what only a path leads to: attributes of what can't be opened. */
static void enter(const struct place *at, i64 directory) {
  i64 result = call(SYS_fchdir, directory, 0, 0, 0, 0, 0);
  if (result < 0) fail("fchdir", result, at->in, at->name);
}

static void set_attribute(const struct place *at, const char *attribute, const char *value, i64 size) {
  i64 result;
  if (at->to >= 0) result = call(SYS_fsetxattr, at->to, (u64)attribute, (u64)value, size, 0, 0);
  else {
    enter(at, at->in->to);
    result = call(SYS_lsetxattr, (u64)at->name, (u64)attribute, (u64)value, size, 0, 0);
    enter(at, at->in->from);
  }
  if (result >= 0 || result == -EOPNOTSUPP) return;
  if (at->to < 0 && (result == -EPERM || result == -EACCES)) return; /* it was read from what has the name by now */
  /* What the host's own security modules, or another file system's own, are not taken for is theirs; what a file may do is not. */
  if (begins_with(attribute, "btrfs.")) return;
  if (begins_with(attribute, "security.") && !begins_with(attribute, "security.capability")) return;
  fail("setxattr", result, at->in, at->name);
}

/* That there is none of it, or more than anybody can be told. */
static u32 is_untold(i64 result) {
  return result == -ENODATA || result == -EOPNOTSUPP || result == -E2BIG || result == -ERANGE || is_gone(result);
}

static const char KEPT[] = "security.capability\0system.posix_acl_access\0system.posix_acl_default";

/* ACLs are among them: acl(5). XFS tells its own form of them as well. */
static void copy_attributes(const struct place *at, struct buffers *buffers) {
  i64 length;
  if (at->from >= 0) length = call(SYS_flistxattr, at->from, (u64)buffers->names, XATTR_MAX, 0, 0, 0);
  else {
    enter(at, at->in->from);
    length = call(SYS_llistxattr, (u64)at->name, (u64)buffers->names, XATTR_MAX, 0, 0, 0);
  }
  if (length == -E2BIG) { /* whoever may write to it can have made so many; by their names these are told all the same */
    length = sizeof KEPT;
    for (i64 i = 0; i < length; i++) buffers->names[i] = KEPT[i];
  }
  if (length < 0 && !is_untold(length)) fail("listxattr", length, at->in, at->name);
  for (i64 i = 0; i < length;) {
    char *attribute = buffers->names + i;
    i += length_of(attribute) + 1;
    if (begins_with(attribute, "trusted.SGI_ACL_")) continue;
    i64 size = at->from >= 0 ? call(SYS_fgetxattr, at->from, (u64)attribute, (u64)buffers->value, XATTR_MAX, 0, 0)
                             : call(SYS_lgetxattr, (u64)at->name, (u64)attribute, (u64)buffers->value, XATTR_MAX, 0, 0);
    if (size >= 0) set_attribute(at, attribute, buffers->value, size);
    else if (!is_untold(size)) fail("getxattr", size, at->in, at->name);
  }
}

/* Of what was made by root, and with this mode. */
static u32 is_roots(const struct status *status) {
  return !own_group && !status->uid && !status->gid && !(status->mode & 07000);
}

static void set_times(i64 fd, const char *name, const struct status *status, struct directory *in) {
  i64 times[4] = {status->atime.seconds, status->atime.nanoseconds, status->mtime.seconds, status->mtime.nanoseconds};
  i64 result = call(SYS_utimensat, fd, (u64)name, (u64)times, name ? AT_SYMLINK_NOFOLLOW : 0, 0, 0);
  if (result < 0) fail("utimensat", result, in, name ? name : "");
}

/* ---- files with more than one name ---- */

static u32 files_lock;
static struct file *files[BUCKETS];

/* 1: it has this name now. Else whoever makes it has the lock, if it has other names, and gives it back. */
static u32 link_file(const struct status *status, struct directory *in, const char *name, struct buffers *buffers) {
  if (status->links < 2) return 0;
  u64 device = (u64)status->major << 32 | status->minor;
  lock(&files_lock);
  for (struct file *file = files[status->inode % BUCKETS]; file; file = file->next) {
    if (file->inode != status->inode || file->device != device) continue;
    if (file->born.seconds != status->btime.seconds || file->born.nanoseconds != status->btime.nanoseconds) continue;
    char *path = path_of(file->directory, file->name, buffers->path);
    i64 result = path ? call(SYS_linkat, root->to, (u64)path, in->to, (u64)name, 0, 0) : -ENAMETOOLONG;
    if (result == -EMLINK || result == -ENAMETOOLONG) return 0; /* this file system has fewer, or no path leads there: it begins anew */
    if (result < 0 && result != -EEXIST) fail("linkat", result, in, name);
    unlock(&files_lock);
    return 1;
  }
  return 0;
}

static void keep_file(const struct status *status, struct directory *in, const char *name, u32 made) {
  if (status->links < 2) return;
  if (made) {
    u64 length = length_of(name) + 1;
    struct file *file = allocate(sizeof *file + length), **bucket = &files[status->inode % BUCKETS];
    for (u64 i = 0; i < length; i++) file->name[i] = name[i];
    file->device = (u64)status->major << 32 | status->minor;
    file->inode = status->inode;
    file->born = status->btime;
    file->directory = in;
    file->next = *bucket;
    *bucket = file;
  }
  unlock(&files_lock);
}

/* ---- regular files ---- */

static void add_blocks(u64 bytes) {
  __atomic_add_fetch(&blocks_done, bytes / 512, __ATOMIC_RELAXED);
}

/* Up to `end`, or where the file ends by now. What the kernel can't copy itself goes through a buffer. */
static u64 copy_range(const struct place *at, u64 begin, u64 end, struct buffers *buffers) {
  u64 in = begin, out = begin;
  while (in < end) {
    u64 size = end - in < PIECE ? end - in : PIECE;
    i64 done = call(SYS_copy_file_range, at->from, (u64)&in, at->to, (u64)&out, size, 0);
    if (done <= 0) {
      done = call(SYS_pread64, at->from, (u64)buffers->value, size < XATTR_MAX ? size : XATTR_MAX, in, 0, 0);
      if (done < 0) fail("read", done, at->in, at->name);
      if (done) done = call(SYS_pwrite64, at->to, (u64)buffers->value, done, out, 0, 0);
      if (done < 0) fail("write", done, at->in, at->name);
      in += done;
      out += done;
    }
    if (!done) break;
    add_blocks(done);
  }
  return in;
}

static void copy_contents(const struct place *at, const struct status *status, struct buffers *buffers) {
  if (!status->size) {
    copy_range(at, 0, PIECE, buffers); /* the kernel's own files tell no size, and none has as much */
    return;
  }
  if (!call(SYS_ioctl, at->to, FICLONE, at->from, 0, 0, 0)) {
    add_blocks(status->blocks * 512);
    return;
  }
  if (status->blocks * 512 >= status->size) {
    copy_range(at, 0, status->size, buffers);
    return;
  }
  u64 end = 0;
  for (u64 begin = 0; begin < status->size; begin = end) {
    i64 data = call(SYS_lseek, at->from, begin, SEEK_DATA, 0, 0, 0);
    if (data == -ENXIO) break; /* all the rest is a hole */
    i64 hole = data < 0 ? data : call(SYS_lseek, at->from, data, SEEK_HOLE, 0, 0, 0);
    if (hole <= data) data = data < 0 ? (i64)begin : data, hole = status->size; /* nobody knows holes there, as in /sys */
    end = (u64)hole < status->size ? (u64)hole : status->size;
    if (copy_range(at, data, end, buffers) < end) return; /* it has become shorter */
  }
  i64 result = call(SYS_ftruncate, at->to, status->size, 0, 0, 0, 0);
  if (result < 0) fail("ftruncate", result, at->in, at->name);
}

/* A FIFO is not waited for, but who has a lease on the file is: fcntl(2). */
static i64 open_regular(struct directory *in, const char *name) {
  i64 from = -ELOOP;
  if (!devices_open) {
    from = call(SYS_openat, in->from, (u64)name, O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, 0, 0);
    if (from != -EAGAIN) return from;
  }
  i64 place = call(SYS_openat, in->from, (u64)name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
  if (place < 0) return place;
  struct status status;
  i64 result = call(SYS_statx, place, (u64)"", AT_EMPTY_PATH, STATX_WITH_BTIME, (u64)&status, 0);
  if (!result && (status.mode & S_IFMT) == S_IFREG) {
    char path[FD_PATH];
    write_fd_path(path, place);
    from = call(SYS_openat, AT_FDCWD, (u64)path, O_CLOEXEC, 0, 0, 0);
    if (from == -ENOENT) fail("openat", from, 0, path); /* there is no /proc */
  }
  call(SYS_close, place, 0, 0, 0, 0, 0);
  return from;
}

/* Less than 0: it can't be opened so, and is something else, or gone. */
static i64 copy_regular(struct directory *in, const char *name, struct buffers *buffers) {
  i64 from = open_regular(in, name);
  if (from < 0) return from;
  struct status status;
  i64 result = call(SYS_statx, from, (u64)"", AT_EMPTY_PATH, STATX_WITH_BTIME, (u64)&status, 0);
  if (result < 0) fail("statx", result, in, name);
  if ((status.mode & S_IFMT) != S_IFREG || link_file(&status, in, name, buffers)) {
    call(SYS_close, from, 0, 0, 0, 0, 0);
    return (status.mode & S_IFMT) == S_IFREG ? 0 : -ELOOP;
  }
  u32 mode = is_roots(&status) ? status.mode & 0777 : 0600;
  i64 to = call(SYS_openat, in->to, (u64)name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode, 0, 0);
  keep_file(&status, in, name, to >= 0);
  if (to >= 0) {
    struct place at = {in, name, from, to};
    copy_contents(&at, &status, buffers);
    if (!is_roots(&status)) result = call(SYS_fchown, to, status.uid, status.gid, 0, 0, 0);
    if (result < 0) fail("fchown", result, in, name);
    copy_attributes(&at, buffers);
    if (!is_roots(&status)) result = call(SYS_fchmod, to, status.mode & 07777, 0, 0, 0, 0);
    if (result < 0) fail("fchmod", result, in, name);
    set_times(to, 0, &status, in);
    result = call(SYS_close, to, 0, 0, 0, 0, 0);
    if (result < 0) fail("close", result, in, name); /* some say only then that there is no room */
  } else if (to != -EEXIST) fail("openat", to, in, name); /* it has been found twice, having been renamed */
  call(SYS_close, from, 0, 0, 0, 0, 0);
  return 0;
}

/* ---- links, devices, FIFOs and sockets ---- */

/* Less than 0: it is no link any more, or gone. */
static i64 make_special(struct directory *in, const char *name, const struct status *status, struct buffers *buffers) {
  if ((status->mode & S_IFMT) == S_IFLNK) {
    i64 length = call(SYS_readlinkat, in->from, (u64)name, (u64)buffers->value, XATTR_MAX - 1, 0, 0);
    if (length < 0) return length;
    buffers->value[length] = 0;
    i64 result = call(SYS_symlinkat, (u64)buffers->value, in->to, (u64)name, 0, 0, 0);
    if (result < 0 && result != -EEXIST) fail("symlinkat", result, in, name);
    return result;
  }
  u64 minor = status->special_minor;
  u64 device = (minor & 0xff) | (u64)status->special_major << 8 | (minor & ~0xffUL) << 12;
  i64 result = call(SYS_mknodat, in->to, (u64)name, status->mode & ~07000, device, 0, 0);
  if (result < 0 && result != -EEXIST) fail("mknodat", result, in, name);
  return result;
}

/* fchmodat(2) would follow a link, if there were one. */
static void set_mode(struct directory *in, const char *name, u64 mode) {
  char path[FD_PATH];
  i64 place = call(SYS_openat, in->to, (u64)name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
  if (place < 0) fail("openat", place, in, name);
  write_fd_path(path, place);
  i64 result = call(SYS_fchmodat, AT_FDCWD, (u64)path, mode, 0, 0, 0);
  if (result < 0) fail("fchmodat", result, in, name);
  call(SYS_close, place, 0, 0, 0, 0, 0);
}

/* As with regular files. */
static i64 copy_special(struct directory *in, const char *name, const struct status *status, struct buffers *buffers) {
  if (link_file(status, in, name, buffers)) return 0;
  i64 result = make_special(in, name, status, buffers);
  keep_file(status, in, name, !result);
  if (result == -EEXIST) return 0; /* found twice: what is there is something else's, which gets nothing of this one */
  if (result < 0) return result;
  if (!is_roots(status)) {
    result = call(SYS_fchownat, in->to, (u64)name, status->uid, status->gid, AT_SYMLINK_NOFOLLOW, 0);
    if (result < 0) fail("fchownat", result, in, name);
  }
  struct place at = {in, name, -1, -1};
  copy_attributes(&at, buffers);
  if (!is_roots(status) && (status->mode & S_IFMT) != S_IFLNK) set_mode(in, name, status->mode & 07777);
  set_times(in->to, name, status, in);
  return 0;
}

/* Of whatever type it turns out to be: it may be replaced by something else between two calls, but not for ever. */
static void copy_entry(struct directory *in, const char *name, u32 type, struct buffers *buffers) {
  i64 result = 0;
  __atomic_add_fetch(&entries_done, 1, __ATOMIC_RELAXED);
  for (u32 i = 0; i < CHANGES; i++) {
    struct status status;
    if (!type) {
      i64 known = call(SYS_statx, in->from, (u64)name, AT_SYMLINK_NOFOLLOW, STATX_WITH_BTIME, (u64)&status, 0);
      if (is_gone(known)) return;
      if (known < 0) fail("statx", known, in, name);
      type = (status.mode & S_IFMT) == S_IFDIR ? DT_DIR : (status.mode & S_IFMT) == S_IFREG ? DT_REG : 0;
    } else if (type != DT_DIR && type != DT_REG) {
      type = 0;
      continue;
    }
    if (type == DT_DIR) return add_task(in, name);
    result = type == DT_REG ? copy_regular(in, name, buffers) : copy_special(in, name, &status, buffers);
    if (!result || is_gone(result)) return;
    type = 0;
  }
  fail("openat", result, in, name);
}

/* ---- directories ---- */

static void release(struct directory *directory, struct buffers *buffers) {
  if (__atomic_sub_fetch(&directory->uses, 1, __ATOMIC_ACQ_REL)) return;
  struct place at = {directory->parent, directory->name, directory->from, directory->to};
  i64 result = call(SYS_fchown, at.to, directory->uid, directory->gid, 0, 0, 0);
  if (result < 0) fail("fchown", result, at.in, at.name);
  copy_attributes(&at, buffers);
  result = call(SYS_fchmod, at.to, directory->mode & 07777, 0, 0, 0, 0);
  if (result < 0) fail("fchmod", result, at.in, at.name);
  result = call(SYS_utimensat, at.to, 0, (u64)directory->times, 0, 0, 0);
  if (result < 0) fail("utimensat", result, at.in, at.name);
  if (directory == root) return; /* links are made by paths from there */
  call(SYS_close, at.from, 0, 0, 0, 0, 0);
  call(SYS_close, at.to, 0, 0, 0, 0, 0);
}

/* 0: it is none any more, or gone. */
static u32 open_both(struct directory *directory, struct buffers *buffers) {
  struct directory *in = directory->parent;
  const char *name = directory->name;
  directory->from = call(SYS_openat, in->from, (u64)name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
  i64 made = 0;
  if (directory->from >= 0) {
    made = call(SYS_mkdirat, in->to, (u64)name, 0700, 0, 0, 0);
    if (made < 0 && made != -EEXIST) fail("mkdirat", made, in, name);
    if (!made) directory->to = call(SYS_openat, in->to, (u64)name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
    if (!made && directory->to < 0) fail("openat", directory->to, in, name);
  } else if (directory->from == -ENOTDIR || directory->from == -ELOOP) copy_entry(in, name, 0, buffers);
  else if (!is_gone(directory->from)) fail("openat", directory->from, in, name);
  release(in, buffers);
  if (directory->from < 0) return 0;
  if (made) call(SYS_close, directory->from, 0, 0, 0, 0, 0); /* found twice */
  return !made;
}

static void list(struct directory *directory, struct buffers *buffers) {
  for (;;) {
    i64 length = call(SYS_getdents64, directory->from, (u64)buffers->entries, ENTRIES, 0, 0, 0);
    if (is_gone(length) || !length) return;
    if (length < 0) fail("getdents64", length, directory->parent, directory->name);
    for (i64 i = 0; i < length;) {
      struct entry *entry = (struct entry *)(buffers->entries + i);
      const char *name = entry->name;
      i += entry->length;
      if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
      copy_entry(directory, name, entry->type, buffers);
    }
  }
}

static void copy_directory(struct directory *directory, struct buffers *buffers) {
  if (directory != root && !open_both(directory, buffers)) return;
  struct status status;
  i64 result = call(SYS_statx, directory->from, (u64)"", AT_EMPTY_PATH, STATX_WITH_BTIME, (u64)&status, 0);
  if (result < 0) fail("statx", result, directory->parent, directory->name);
  u64 device = (u64)status.major << 32 | status.minor;
  if (device == target_device && status.inode == target_inode) fail("copy-into-itself", -EINVAL, directory->parent, directory->name);
  directory->uid = status.uid;
  directory->gid = status.gid;
  directory->mode = status.mode;
  directory->times[0].seconds = status.atime.seconds;
  directory->times[0].nanoseconds = status.atime.nanoseconds;
  directory->times[1].seconds = status.mtime.seconds;
  directory->times[1].nanoseconds = status.mtime.nanoseconds;
  if (directory == root) root_device = device;
  if (!one_file_system || device == root_device) list(directory, buffers);
  release(directory, buffers);
}

static void work(void) {
  i64 mapped = call(SYS_mmap, 0, sizeof(struct buffers), PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  if (mapped < 0 && mapped > -PATH) fail("mmap", mapped, 0, "");
  for (struct directory *task = next_task(); task; task = next_task()) {
    copy_directory(task, (struct buffers *)mapped);
    end_task();
  }
}

static void run_thread(void) {
  work();
  for (u32 never = 0;;) call(SYS_futex, (u64)&never, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0); /* its stack is no one's to free */
}

/* What its own directory would hand down to what is made in it: setgid, and a default ACL. */
static void open_root(void) {
  static const char *const acls[] = {"system.posix_acl_default", "system.posix_acl_access"};
  add_task(0, "");
  root = tasks;
  root->from = 0;
  root->to = call(SYS_openat, AT_FDCWD, (u64)".", O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
  if (root->to < 0) fail("openat", root->to, 0, "");
  struct status status;
  i64 result = call(SYS_statx, root->to, (u64)"", AT_EMPTY_PATH, STATX_WITH_BTIME, (u64)&status, 0);
  if (result < 0) fail("statx", result, 0, "");
  target_device = (u64)status.major << 32 | status.minor;
  target_inode = status.inode;
  result = call(SYS_fchown, root->to, 0, 0, 0, 0, 0);
  if (result < 0) fail("fchown", result, 0, "");
  for (u32 i = 0; i < 2; i++) {
    result = call(SYS_fremovexattr, root->to, (u64)acls[i], 0, 0, 0, 0);
    if (result < 0 && result != -ENODATA && result != -EOPNOTSUPP) fail("fremovexattr", result, 0, "");
  }
  result = call(SYS_fchmod, root->to, 0700, 0, 0, 0, 0);
  if (result < 0) fail("fchmod", result, 0, "");
}

static u32 has(const char *letters, char letter) {
  for (; *letters; letters++)
    if (*letters == letter) return 1;
  return 0;
}

_Noreturn void main(u64 *stack) {
  char **argv = (char **)(stack + 1);
  if (stack[0] != 3 || argv[1][0] < '1' || argv[1][0] > '9') leave(2);
  u32 threads = argv[1][0] - '0', tells = has(argv[2], 'p');
  one_file_system = has(argv[2], 'x');
  devices_open = has(argv[2], 'd');
  call(SYS_prctl, PR_SET_NAME, (u64)"berth-copy", 0, 0, 0, 0);
  call(SYS_umask, 0, 0, 0, 0, 0, 0);
  own_group = call(SYS_getegid, 0, 0, 0, 0, 0, 0); /* to change it would take the parent-death signal away: prctl(2) */
  u64 limits[2];
  if (!call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (u64)limits, 0, 0)) {
    limits[0] = limits[1];
    call(SYS_prlimit64, 0, RLIMIT_NOFILE, (u64)limits, 0, 0, 0);
  }
  open_root();
  for (u32 i = 0; i < threads; i++) {
    i64 mapped = call(SYS_mmap, 0, STACK, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (mapped < 0 && mapped > -PATH) fail("mmap", mapped, 0, "");
    u64 arguments[11] = {THREAD, 0, 0, 0, 0, mapped, STACK};
    i64 started = start_thread((u64)arguments, sizeof arguments, run_thread);
    if (started >= 0) continue;
    if (!i) work(); /* none are slower, but as good */
    break;
  }
  i64 interval[2] = {0, 100000000};
  while (!__atomic_load_n(&finished, __ATOMIC_ACQUIRE)) {
    call(SYS_futex, (u64)&finished, FUTEX_WAIT_PRIVATE, 0, tells ? (u64)interval : 0, 0, 0);
    if (tells) say_progress();
  }
  if (tells) say_progress(); /* there may have been no thread to wait for */
  leave(0);
}
