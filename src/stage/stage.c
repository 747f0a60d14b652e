/*
 * stage: runs the program that berth compiled from a launch plan, then stays as the machine's keeper.
 *
 * Freestanding: no libc, no heap, no strings but the few below. Everything it does was decided before it started
 * and lies in an image, which is mapped at a fixed address so that the pointers in it are absolute: a launch is a
 * straight walk over system calls, their arguments and the results they may have. The host sends it over the socket
 * that is fd 3, with the fds it works on, which have the same numbers in every launch.
 *
 *     keeper (this process; outside, host root)          init (cloned; becomes the machine's PID 1)
 *     prepare, SPAWN init ------------------------------> SPAWN apivfs, which makes the kernel's file systems
 *     assemble the root from detached mounts <----------- hand them over
 *     leave ---------------------------------------------> lock the mounts, drop, execve
 *     keep: console, exit status
 *
 * Before that, while it waits, it makes the namespaces that init will be in, if the host asks for them: one process holds
 * them until the host has opened them and has written the uid maps.
 *
 * A program that fails reports {who, op, result} on that socket; the keeper says there when the payload has been
 * executed, and how it ended. Compiled for x86-64 and arm64 by .scripts/build-stage; the executables are committed beside this file.
 */

#include "freestanding.h"

#define BASE 0x200000000UL
#define MAGIC 0x3430687472656256UL /* "Vberth04": format 4; the image and the stage must agree */
#define AHEAD 0x6461656861UL /* "ahead" */
#define STATUS_FD 3 /* the socket to the host, inherited */
#define IMAGE_FD 4  /* the first fd that comes over it; the others follow in order, first of all the locks */
#define TITLE 96    /* bytes of argv[0] that the process is spawned with, for its title */

/* First words of what the keeper says that is no report: see stage/stage-socket.ts. */
#define HOLDS 0x10b    /* sync point 11: the namespaces are made; pid of who holds them, or -1 and a negative errno */
#define EXECUTED 0x200 /* the payload has been executed */
#define EXITED 0x201   /* and has ended: si_code, si_status of waitid(2) */
#define ATTACHED 0x202 /* to a new host: KEEPER_VERSION, what init has said and which fds come with it */
#define BUSY 0x203     /* there is a host already */
#define KEEPER_VERSION 1 /* of what is said to a new host, which may be of another version of berth */

/* Operations that are no system calls. */
#define OP_SPAWN -1 /* clone3(arg0, arg1); the child runs program arg2 and exits 0 */
#define OP_STORE -2 /* store arg1 as arg2 bytes (4 or 8) at arg0 */
#define OP_LOAD -3  /* the signed 32-bit value at arg0 is the result */
#define OP_RESULT -4 /* arg0 is the result */
#define OP_BECOME -5 /* clone3(arg0, arg1); the child goes on, the parent runs program arg2 and exits */
#define OP_STAY -6   /* clone3(arg0, arg1); the child goes on, the parent runs program arg2 and is its init */
#define OP_MATCH -7  /* 0 if the bits arg1 of arg0 are arg2, else -1 */
#define OP_TURN -8   /* map the whole image, of which this one is the beginning, and go on there behind this operation */

struct op {
  i64 number;    /* system call, or OP_* */
  u64 arg[6];
  i64 low, high; /* accepted results */
  i64 tolerated; /* one more accepted errno, 0: none */
  u32 registers; /* bit k: arg[k] is the number of a register */
  i32 target;    /* register that takes the result, -1: none */
  i32 guard;     /* run only if this register is >= 0; -1: always */
  u32 padding;
};

struct program {
  u64 who;     /* whose steps these are, for the report */
  u64 lenient; /* clean-up: go on after failures */
  u64 length;
  struct op ops[];
};

/* The fds that a keeper works with, -1: absent. All but the socket to the host get numbers in this order. */
enum {
  RECORD, DIRECTORY, LOG, MIRROR, NAME_LOCK, NOTIFY, RENDEZVOUS, GIVEN,
  LEADER = GIVEN, MASTER, SLAVE, ROOT, SELF, KEPT,
  STATUS = KEPT, ALL
};

/* What the host sends: this, with all fds; where they are too many for one message, this again with the next ones. */
struct handover {
  u64 magic, fds;
  char title[TITLE];
};

/* What it may send before: namespaces (CLONE_NEW*) to make, by somebody with these limits, which are theirs too. */
struct request {
  u64 magic, namespaces, count;
  struct { u64 resource, soft, hard; } limits[16];
};

struct image {
  u64 magic, size;
  i64 *registers;
  struct program *keeper;
  struct program *init;
  struct program *commit; /* after init was executed */
  struct program *undo;   /* when the launch failed */
  struct program *end;    /* when the machine has ended */
  u64 foreground;         /* the machine ends with whoever started it */
  i64 alarm;              /* init's end of the socket to the keeper */
  i64 given[GIVEN];
  i64 free;               /* the first fd behind the locks, which the keeper holds and leaves where they are */
  i64 whole;              /* the fd of the whole image, -1: it is this one */
  u64 carried;            /* registers, from the first on, that have the same numbers in both */
  i64 pid, leader, master, slave, root, self; /* numbers of the registers that hold them */
  u64 log_limit;          /* bytes a console log may have before it is rotated */
  u64 resident;           /* bytes from the start that are needed until the machine ends */
};

#if defined(__x86_64__)
enum {
  SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_munmap = 11, SYS_sendto = 44, SYS_exit_group = 231, SYS_wait4 = 61,
  SYS_kill = 62, SYS_fcntl = 72, SYS_clock_gettime = 228, SYS_waitid = 247, SYS_openat = 257, SYS_renameat2 = 316,
  SYS_rt_sigprocmask = 14, SYS_reboot = 169, SYS_signalfd4 = 289,
  SYS_ppoll = 271, SYS_dup3 = 292, SYS_lseek = 8, SYS_read = 0, SYS_ftruncate = 77, SYS_recvfrom = 45, SYS_recvmsg = 47,
  SYS_prctl = 157, SYS_accept4 = 288, SYS_getsockopt = 55, SYS_sendmsg = 46, SYS_getpid = 39, SYS_getppid = 110,
  SYS_prlimit64 = 302, SYS_mremap = 25
};
#elif defined(__aarch64__)
enum {
  SYS_write = 64, SYS_close = 57, SYS_mmap = 222, SYS_munmap = 215, SYS_sendto = 206, SYS_exit_group = 94,
  SYS_wait4 = 260, SYS_kill = 129, SYS_fcntl = 25, SYS_clock_gettime = 113, SYS_waitid = 95, SYS_openat = 56,
  SYS_renameat2 = 276, SYS_ppoll = 73, SYS_dup3 = 24, SYS_lseek = 62, SYS_read = 63, SYS_ftruncate = 46, SYS_recvfrom = 207,
  SYS_rt_sigprocmask = 135, SYS_reboot = 142, SYS_signalfd4 = 74,
  SYS_recvmsg = 212, SYS_prctl = 167, SYS_accept4 = 242, SYS_getsockopt = 209, SYS_sendmsg = 211, SYS_getpid = 172,
  SYS_getppid = 173, SYS_prlimit64 = 261, SYS_mremap = 216
};
#endif
enum {
  SYS_clone3 = 435, SYS_close_range = 436, SYS_openat2 = 437, EAGAIN = 11, SYS_pidfd_send_signal = 424, SYS_pidfd_open = 434,
  SIGHUP = 1, SIGKILL = 9, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18, RTMIN = 34, SIG_SETMASK = 2,
  WNOHANG = 1, F_DUPFD = 0, P_PIDFD = 3, WEXITED = 4, WALL = 0x40000000, MSG_NOSIGNAL = 0x4000, MSG_DONTWAIT = 0x40,
  MSG_CMSG_CLOEXEC = 0x40000000, SOCK_CLOEXEC = 02000000, SOL_SOCKET = 1, SCM_RIGHTS = 1, SO_PEERCRED = 17,
  PR_SET_NAME = 15, PR_SET_PDEATHSIG = 1, PROT_READ_WRITE = 3, MAP_PRIVATE = 2, MAP_PRIVATE_FIXED_NOREPLACE = 0x100002,
  MREMAP_MAYMOVE_FIXED = 3, SEEK_END = 2, REALTIME = 0, MONOTONIC = 1, POLLIN = 1, O_WRONLY_CREAT_TRUNC_CLOEXEC = 02001101, O_CLOEXEC = 02000000, PAGE = 4096
};

_Noreturn static void leave(i64 status) {
  for (;;) call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

/* ---- the image ---- */

static struct image *const image = (struct image *)BASE;

/* At `base`, 0: anywhere. What is mapped is private: who writes to it, and be it a register, has a copy of that page. */
static struct image *map_image(u64 base) {
  u64 size = call(SYS_lseek, IMAGE_FD, 0, SEEK_END, 0, 0, 0);
  u64 flags = base ? MAP_PRIVATE_FIXED_NOREPLACE : MAP_PRIVATE;
  i64 mapped = call(SYS_mmap, base, size, PROT_READ_WRITE, flags, IMAGE_FD, 0);
  struct image *found = (struct image *)mapped;
  if (mapped <= 0 || (base && mapped != (i64)base) || found->magic != MAGIC || found->size != size) leave(126);
  return found;
}

/* ---- namespaces made ahead ---- */

static i64 holder; /* our child that is in them */

static void say(i64 fd, i64 what, i64 value, i64 more) {
  i64 message[3] = {what, value, more};
  call(SYS_sendto, fd, (u64)message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
}

/* Not by ourselves: who enters a user namespace does not come back. */
static void make_namespaces(struct request *request) {
  for (u64 i = 0; i < request->count; i++) /* refused where berth itself is in another's user namespace: then they stay */
    call(SYS_prlimit64, 0, request->limits[i].resource, (u64)&request->limits[i].soft, 0, 0, 0);
  u64 arguments[11] = {request->namespaces, 0, 0, 0, SIGCHLD};
  i64 parent = call(SYS_getpid, 0, 0, 0, 0, 0, 0);
  holder = call(SYS_clone3, (u64)arguments, sizeof arguments, 0, 0, 0, 0);
  if (holder < 0) {
    say(STATUS_FD, HOLDS, -1, holder);
    holder = 0; /* the host may ask again */
    return;
  }
  if (holder > 0) return;
  call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
  if (call(SYS_getppid, 0, 0, 0, 0, 0, 0) != parent) leave(0); /* it has died before */
  say(STATUS_FD, HOLDS, call(SYS_getpid, 0, 0, 0, 0, 0, 0), 0);
  for (;;) call(SYS_ppoll, 0, 0, 0, 0, 0, 0);
}

/* The host has opened them. */
static void end_holder(void) {
  if (holder <= 0) return;
  call(SYS_kill, holder, SIGKILL, 0, 0, 0, 0); /* our child and not reaped yet, so the pid is its own */
  call(SYS_wait4, holder, 0, WALL, 0, 0, 0);
  holder = 0;
}

/* ---- running programs ---- */

static void run(struct program *program);
_Noreturn static void stay(i64 payload);

/* The keeper's way out of a launch that failed: nothing of it stays. */
_Noreturn static void abandon(void) {
  i64 pid = image->registers[image->pid];
  if (pid > 0) {
    call(SYS_kill, pid, SIGKILL, 0, 0, 0, 0); /* our child and not reaped yet, so the pid is its own */
    call(SYS_wait4, pid, 0, WALL, 0, 0, 0);
  }
  run(image->undo);
  end_holder();
  leave(1);
}

_Noreturn static void fail(u64 who, i64 index, i64 result) {
  i64 report[3] = {who, index, result};
  if (who == image->keeper->who) { /* the host may be gone: that must not kill what still has to clean up */
    call(SYS_sendto, STATUS_FD, (u64)report, sizeof report, MSG_NOSIGNAL, 0, 0);
    abandon();
  }
  call(SYS_write, STATUS_FD, (u64)report, sizeof report, 0, 0, 0);
  call(SYS_write, image->alarm, (u64)report, 1, 0, 0, 0); /* else our end of file would look like exec */
  leave(127);
}

/*
 * Not inlined: with CLONE_VFORK | CLONE_VM the child runs on our stack, so nothing but this frame may be in use when we
 * go on, and of this frame only what we were called with.
 */
__attribute__((noinline)) static i64 spawn(u64 arguments, u64 size, struct program *program) {
  i64 pid = call(SYS_clone3, arguments, size, 0, 0, 0, 0);
  if (pid != 0) return pid;
  run(program);
  leave(0);
}

static i64 become(u64 arguments, u64 size, struct program *farewell) {
  i64 pid = call(SYS_clone3, arguments, size, 0, 0, 0, 0);
  if (pid == 0) holder = 0; /* its parent's, who ends it */
  if (pid <= 0) return pid;
  image->registers[image->self] = pid;
  run(farewell);
  end_holder();
  leave(0);
}

static i64 stay_behind(u64 arguments, u64 size, struct program *confine) {
  i64 pid = call(SYS_clone3, arguments, size, 0, 0, 0, 0);
  if (pid <= 0) return pid;
  run(confine);
  stay(pid);
}

/* openat2(2) gives up on a path with `..` whenever anybody on the host renames a directory or mounts something meanwhile. */
static i64 patient_call(i64 number, u64 *arg) {
  for (int tries = 100;; tries--) {
    i64 result = call(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    if (number != SYS_openat2 || result != -EAGAIN || tries == 0) return result;
  }
}

static i64 perform(i64 number, u64 *arg) {
  switch (number) {
    case OP_SPAWN:
      return spawn(arg[0], arg[1], (struct program *)arg[2]);
    case OP_BECOME:
      return become(arg[0], arg[1], (struct program *)arg[2]);
    case OP_STAY:
      return stay_behind(arg[0], arg[1], (struct program *)arg[2]);
    case OP_STORE:
      if (arg[2] == 8) *(u64 *)arg[0] = arg[1];
      else *(u32 *)arg[0] = arg[1];
      return 0;
    case OP_LOAD:
      return *(i32 *)arg[0];
    case OP_RESULT:
      return arg[0];
    case OP_MATCH:
      return (arg[0] & arg[1]) == arg[2] ? 0 : -1;
    default:
      return patient_call(number, arg);
  }
}

/*
 * The host writes most of the program while the stage already clones: a first image begins with the same operations as the
 * whole one. Until it is mapped nobody has looked at that, so it may be written at any time before. What was done so far is
 * in registers, which have the same numbers in both.
 */
static struct program *turn(struct program *program) {
  u64 is_keeper = program == image->keeper;
  if (call(SYS_dup3, image->whole, IMAGE_FD, O_CLOEXEC, 0, 0, 0) < 0) leave(126);
  struct image *whole = map_image(0);
  i64 *registers = (i64 *)((u64)whole + ((u64)whole->registers - BASE));
  for (u64 i = 0; i < image->carried; i++) registers[i] = image->registers[i];
  call(SYS_munmap, BASE, image->size, 0, 0, 0, 0);
  u64 size = whole->size;
  if (call(SYS_mremap, (u64)whole, size, size, MREMAP_MAYMOVE_FIXED, BASE, 0) != (i64)BASE) leave(126);
  return is_keeper ? image->keeper : image->init;
}

static void run(struct program *program) {
  i64 *registers = image->registers;
  for (u64 i = 0; i < program->length; i++) {
    struct op *op = &program->ops[i];
    if (op->number == OP_TURN) {
      program = turn(program);
      registers = image->registers;
      continue;
    }
    if (op->guard >= 0 && registers[op->guard] < 0) continue;
    u64 arg[6];
    for (int k = 0; k < 6; k++) arg[k] = op->registers >> k & 1 ? (u64)registers[op->arg[k]] : op->arg[k];
    i64 result = perform(op->number, arg);
    if (op->target >= 0) registers[op->target] = result;
    int accepted = (result >= op->low && result <= op->high) || (op->tolerated && result == -op->tolerated);
    if (!accepted && !program->lenient) fail(program->who, i, result);
  }
}

/* ---- the keeper: console and exit status of one machine, in as little memory as it takes ---- */

static i64 fds[ALL];
static u64 logged;
static u64 heard; /* what init has said while no host was there to hear it */
enum { READY = 1, STOPPING = 2, FIRST_GIVEN = 4 };
static struct { u64 time; u32 length, zero; char data[PAGE - 16]; } frame; /* one record of the console log */

struct header { u64 name, namelen, parts, count, control, controllen, flags; }; /* struct msghdr */

static u64 now(u64 clock) {
  u64 time[2];
  call(SYS_clock_gettime, clock, (u64)time, 0, 0, 0, 0);
  return time[0] * 1000000000 + time[1];
}

/* Gives the kept fds low numbers, from behind the locks on, and closes all others. */
static void keep_only(void) {
  i64 *registers = image->registers, low = image->free;
  for (int i = 0; i < GIVEN; i++) fds[i] = image->given[i];
  fds[STATUS] = STATUS_FD;
  fds[LEADER] = registers[image->leader];
  fds[MASTER] = registers[image->master];
  fds[SLAVE] = registers[image->slave]; /* held open, or the master hangs up whenever nobody inside has the console */
  fds[ROOT] = registers[image->root];   /* for what the end program removes */
  fds[SELF] = call(SYS_pidfd_open, call(SYS_getpid, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0);
  for (int i = 0; i < KEPT; i++)
    if (fds[i] >= 0) fds[i] = call(SYS_fcntl, fds[i], F_DUPFD, low + KEPT, 0, 0, 0);
  call(SYS_close_range, low, low + KEPT - 1, 0, 0, 0, 0);
  for (int i = 0; i < KEPT; i++)
    if (fds[i] >= 0) fds[i] = call(SYS_dup3, fds[i], low + i, 0, 0, 0, 0);
  call(SYS_close_range, low + KEPT, ~0U, 0, 0, 0, 0);
  call(SYS_close, IMAGE_FD, 0, 0, 0, 0, 0);
  registers[image->root] = fds[ROOT];
}

/* Frees the launch's part of the image; the file behind it lives as long as the mapping does. */
static void shrink(void) {
  u64 resident = image->resident;
  call(SYS_munmap, BASE + resident, image->size - resident, 0, 0, 0, 0);
  call(SYS_ftruncate, IMAGE_FD, resident, 0, 0, 0, 0);
}

static void drop(int which) {
  call(SYS_close, fds[which], 0, 0, 0, 0, 0);
  fds[which] = -1;
}

/* Two files: when console.log is full it becomes console.log.1. A full disk costs lines, never the machine. */
static void log_frame(void) {
  u64 size = 16 + frame.length;
  if (logged + size > image->log_limit) {
    call(SYS_renameat2, fds[DIRECTORY], (u64) "console.log", fds[DIRECTORY], (u64) "console.log.1", 0, 0);
    i64 fresh = call(SYS_openat, fds[DIRECTORY], (u64) "console.log", O_WRONLY_CREAT_TRUNC_CLOEXEC, 0600, 0, 0);
    if (fresh >= 0) {
      drop(LOG);
      fds[LOG] = fresh;
      logged = 0;
    }
  }
  if (call(SYS_write, fds[LOG], (u64)&frame, size, 0, 0, 0) > 0) logged += size;
}

/* The terminal of a foreground run. It may be slow, and then the machine's console is, as any terminal would be. */
static void mirror_frame(void) {
  for (u64 done = 0; done < frame.length && fds[MIRROR] >= 0;) {
    i64 sent = call(SYS_sendto, fds[MIRROR], (u64)frame.data + done, frame.length - done, MSG_NOSIGNAL, 0, 0);
    if (sent < 0) drop(MIRROR);
    else done += sent;
  }
}

/* Reads the console once; 0 when there is nothing to read now. */
static int read_console(void) {
  i64 length = call(SYS_read, fds[MASTER], (u64)frame.data, sizeof frame.data, 0, 0, 0);
  if (length <= 0) return 0;
  frame.time = now(REALTIME);
  frame.length = length;
  if (fds[LOG] >= 0) log_frame();
  mirror_frame();
  return 1;
}

/* To who started it, and to a file for who comes later: {version, si_code, si_status, pid, time in ns} (exec/exit-record.ts). */
static void record_exit(void) {
  i32 info[32];
  while (call(SYS_waitid, P_PIDFD, fds[LEADER], (u64)info, WEXITED, 0, 0) < 0) continue;
  struct { u32 version; i32 code, status, pid; u64 time; } record = {1, info[2], info[6], info[4], now(REALTIME)};
  call(SYS_write, fds[RECORD], (u64)&record, sizeof record, 0, 0, 0);
  say(fds[STATUS], EXITED, record.code, record.status);
}

/* The host has nothing to say any more. Nothing but its end is waited for: a foreground machine ends with it, another gets a new one. */
static void hear_host(void) {
  i64 length = call(SYS_recvfrom, fds[STATUS], (u64)frame.data, sizeof frame.data, MSG_DONTWAIT, 0, 0);
  if (length > 0) return;
  if (image->foreground) call(SYS_pidfd_send_signal, fds[LEADER], SIGKILL, 0, 0, 0, 0);
  drop(STATUS);
}

/* Whether one of the lines of a text is this. */
static int has_line(const char *text, i64 length, const char *line) {
  for (i64 at = 0; at < length; at++) {
    i64 same = 0;
    while (line[same] && at + same < length && text[at + same] == line[same]) same++;
    if (!line[same] && (at + same == length || text[at + same] == '\n')) return 1;
    while (at < length && text[at] != '\n') at++;
  }
  return 0;
}

/*
 * Without a host init would wait when ten of its notifications lie there (sd_notify(3)). What it says of its state is
 * remembered, by PID 1 alone, for whom the kernel vouches. There is no room for the fds that may come: the kernel closes them.
 */
static void hear_init(void) {
  struct { u64 length; i32 level, type, pid, uid, gid, none; } sender;
  struct { u64 base, length; } part = {(u64)frame.data, sizeof frame.data};
  struct header message = {0, 0, (u64)&part, 1, (u64)&sender, sizeof sender, 0};
  i64 length = call(SYS_recvmsg, fds[NOTIFY], (u64)&message, MSG_DONTWAIT, 0, 0, 0);
  if (length <= 0 || message.controllen < 28 || sender.pid != image->registers[image->pid]) return;
  if (has_line(frame.data, length, "READY=1")) heard |= READY;
  if (has_line(frame.data, length, "STOPPING=1")) heard |= STOPPING;
}

/* A host that comes to a machine of another one that is gone gets what it works with, as many of these as there are. */
static void greet(void) {
  static const int theirs[] = {LEADER, SELF, RECORD, NAME_LOCK, NOTIFY, MASTER};
  enum { COUNT = sizeof theirs / sizeof *theirs };
  struct { u64 length; i32 level, type, fds[COUNT]; } control = {16, SOL_SOCKET, SCM_RIGHTS, {0}};
  i64 hello[3] = {ATTACHED, KEEPER_VERSION, heard};
  for (int i = 0, count = 0; i < COUNT; i++)
    if (fds[theirs[i]] >= 0) {
      control.fds[count++] = fds[theirs[i]];
      control.length += sizeof(i32);
      hello[2] |= FIRST_GIVEN << i;
    }
  struct { u64 base, length; } part = {(u64)hello, sizeof hello};
  struct header message = {0, 0, (u64)&part, 1, (u64)&control, (control.length + 7) & ~7UL, 0};
  call(SYS_sendmsg, fds[STATUS], (u64)&message, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0);
}

/* Somebody asks at the rendezvous to be the host. There is one at a time, and it is root. */
static void meet(void) {
  struct { u32 pid, uid, gid; } peer = {0, ~0U, 0};
  u64 size = sizeof peer;
  i64 host = call(SYS_accept4, fds[RENDEZVOUS], 0, 0, SOCK_CLOEXEC, 0, 0);
  if (host < 0) return;
  call(SYS_getsockopt, host, SOL_SOCKET, SO_PEERCRED, (u64)&peer, (u64)&size, 0);
  if (fds[STATUS] >= 0 || peer.uid != 0) {
    say(host, BUSY, 0, 0);
    call(SYS_close, host, 0, 0, 0, 0, 0);
    return;
  }
  fds[STATUS] = host;
  greet();
}

_Noreturn static void keep(void) {
  enum { END, HOST, CONSOLE, INIT, CALLER, COUNT };
  static const int which[COUNT] = {LEADER, STATUS, MASTER, NOTIFY, RENDEZVOUS};
  struct { i32 fd; short events, revents; } watched[COUNT];
  for (;;) {
    for (int i = 0; i < COUNT; i++) watched[i].fd = fds[which[i]], watched[i].events = POLLIN, watched[i].revents = 0;
    if (fds[STATUS] >= 0) watched[INIT].fd = -1; /* the host hears it */
    if (call(SYS_ppoll, (u64)watched, COUNT, 0, 0, 0, 0) < 0) continue;
    if (watched[CONSOLE].revents) read_console();
    if (watched[INIT].revents) hear_init();
    if (watched[HOST].revents) hear_host();
    if (watched[CALLER].revents) meet();
    if (watched[END].revents) break;
  }
  while (fds[MASTER] >= 0 && read_console()) continue;
  record_exit();
  run(image->end);
  leave(0);
}

static char *own_title; /* argv[0], TITLE bytes */

/* Its first word. The kernel's own name for it is the number of the fd that it was executed from. */
static void name_after(const char *title) {
  char name[16] = {0};
  for (int i = 0; i < 15 && title[i] && title[i] != ' ' && title[i] != ':'; i++) name[i] = title[i];
  call(SYS_prctl, PR_SET_NAME, (u64)name, 0, 0, 0, 0);
}

/* Waits for the host to hand over the program and what it works on. A stage that is not needed is told by end of file. */
static void take_over(char *title) {
  union { struct handover handover; struct request request; } message;
  call(SYS_close_range, STATUS_FD + 1, ~0U, 0, 0, 0, 0); /* what comes gets the lowest free numbers: none may be taken */
  for (u64 have = 0, all = 1; have < all;) {
    struct { u64 base, length; } part = {(u64)&message, sizeof message};
    struct { u64 length; i32 level, type, fds[]; } *control = (void *)frame.data;
    struct header header = {0, 0, (u64)&part, 1, (u64)control, sizeof frame.data, 0};
    i64 length = call(SYS_recvmsg, STATUS_FD, (u64)&header, MSG_CMSG_CLOEXEC, 0, 0, 0);
    if (length == 0) { /* it is not needed */
      end_holder();
      leave(0);
    }
    if (length == sizeof message.request && message.request.magic == AHEAD && !holder) {
      make_namespaces(&message.request);
      continue;
    }
    if (length != sizeof message.handover || message.handover.magic != MAGIC || header.controllen < sizeof *control) leave(126);
    have += (control->length - sizeof *control) / sizeof(i32);
    all = message.handover.fds;
  }
  for (int i = 0; i < TITLE && title[i]; i++) title[i] = message.handover.title[i];
  name_after(message.handover.title);
}

/* ---- the stub init: PID 1 of a machine whose payload is PID 2 ---- */

/* As systemd(1) takes them, and so nspawn's stub: bit N for SIGRTMIN+N. 90 s are what an orderly stop may take. */
#define POWEROFF_SIGNALS (1UL << 3 | 1UL << 4 | 1UL << 13 | 1UL << 14)
#define REBOOT_SIGNALS (1UL << 5 | 1UL << 6 | 1UL << 15 | 1UL << 16)
#define PATIENCE 90000000000UL

static u64 stop, deadline; /* reboot(2)'s command, when it has been asked for */

/* Reboot(2) in a pid namespace ends it, and says by its status which of the two was meant. */
_Noreturn static void end_machine(i64 status) {
  if (stop) call(SYS_reboot, 0xfee1dead, 0x28121969, stop, 0, 0, 0);
  leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}

/* Everything that has no meaning to an init is for the payload. A shell ignores SIGTERM, and minds SIGHUP. */
static void pass_on(u32 signal, i64 payload) {
  u64 bit = signal < RTMIN ? 0 : 1UL << (signal - RTMIN);
  if (bit & (POWEROFF_SIGNALS | REBOOT_SIGNALS)) {
    stop = bit & REBOOT_SIGNALS ? 0x01234567 : 0x4321fedc;
    if (!deadline) deadline = now(MONOTONIC) + PATIENCE;
    call(SYS_kill, payload, SIGTERM, 0, 0, 0, 0);
    call(SYS_kill, payload, SIGCONT, 0, 0, 0, 0);
    call(SYS_kill, payload, SIGHUP, 0, 0, 0, 0);
  } else if (!bit && signal != SIGCHLD) call(SYS_kill, payload, signal, 0, 0, 0, 0);
}

static void reap(i64 payload) {
  i32 status;
  for (i64 pid; (pid = call(SYS_wait4, -1, (u64)&status, WNOHANG | WALL, 0, 0, 0)) > 0;)
    if (pid == payload) end_machine(status);
}

/*
 * Nothing of the host is left in it: no fd, no image, no name. Its last fds go when signals are heard, which is what the
 * keeper waits for.
 */
_Noreturn static void stay(i64 payload) {
  u64 every = ~0UL, size = image->size;
  struct { u32 signal; char more[124]; } info; /* struct signalfd_siginfo */
  call(SYS_rt_sigprocmask, SIG_SETMASK, (u64)&every, 0, 8, 0, 0);
  i64 signals = call(SYS_signalfd4, -1, (u64)&every, 8, 0, 0, 0);
  for (int i = 0; i < TITLE; i++) own_title[i] = i < 10 ? "berth-init"[i] : 0;
  name_after(own_title);
  call(SYS_munmap, BASE, size, 0, 0, 0, 0);
  call(SYS_close_range, signals + 1, ~0U, 0, 0, 0, 0);
  call(SYS_close_range, 0, signals - 1, 0, 0, 0, 0);
  for (;;) {
    reap(payload);
    struct { i32 fd; short events, revents; } watched = {signals, POLLIN, 0};
    i64 left = deadline - now(MONOTONIC);
    if (deadline && left <= 0) end_machine(SIGKILL);
    u64 timeout[2] = {left / 1000000000, left % 1000000000};
    if (call(SYS_ppoll, (u64)&watched, 1, deadline ? (u64)timeout : 0, 0, 0, 0) <= 0) continue;
    if (call(SYS_read, signals, (u64)&info, sizeof info, 0, 0, 0) > 0) pass_on(info.signal, payload);
  }
}

_Noreturn void main(char **stack) {
  own_title = stack[1]; /* argc, argv[0] */
  name_after(own_title);
  take_over(own_title);
  map_image(BASE);
  run(image->keeper);
  say(STATUS_FD, EXECUTED, 0, 0);
  end_holder(); /* if nobody was cloned who did */
  run(image->commit);
  shrink();
  keep_only();
  keep();
}
