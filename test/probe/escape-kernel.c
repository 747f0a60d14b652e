/* Escape attempts by system calls that act on the whole kernel. Each has an argument that could do no harm. */
#include "escape.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define ATTEMPT(name) static enum verdict name(const char *argument, char *detail)
#define UNUSED (void)argument

/* Flags no kernel knows. */
ATTEMPT(try_kexec_load) { UNUSED; return refused_strictly(syscall(SYS_kexec_load, 0, 0, NULL, 0x8000), detail); }
ATTEMPT(try_kexec_file) { UNUSED; return refused_strictly(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0), detail); }
ATTEMPT(try_init_module) { UNUSED; return refused_strictly(syscall(SYS_init_module, "x", 1, ""), detail); }
ATTEMPT(try_finit_module) { UNUSED; return refused_strictly(syscall(SYS_finit_module, -1, "", 0), detail); }
ATTEMPT(try_delete_module) { UNUSED; return refused_strictly(syscall(SYS_delete_module, "berth-no-such", O_NONBLOCK), detail); }
ATTEMPT(try_swapon) { UNUSED; return refused_strictly(swapon("/berth-no-such", 0), detail); }
ATTEMPT(try_swapoff) { UNUSED; return refused_strictly(swapoff("/berth-no-such"), detail); }
ATTEMPT(try_acct) { UNUSED; return refused_strictly(acct("/berth-no-such"), detail); }

ATTEMPT(try_clock) {
  UNUSED;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return refused_strictly(clock_settime(CLOCK_REALTIME, &now), detail);
}

ATTEMPT(try_adjtime) {
  UNUSED;
  struct timex zero = {.modes = ADJ_SETOFFSET};
  return refused_strictly(clock_adjtime(CLOCK_REALTIME, &zero), detail);
}

ATTEMPT(try_ioperm) {
  UNUSED;
#ifdef SYS_ioperm
  return refused_strictly(syscall(SYS_ioperm, 0x80, 1, 1), detail);
#else
  say(detail, "this processor has no I/O ports");
  return HELD;
#endif
}

ATTEMPT(try_iopl) {
  UNUSED;
#ifdef SYS_iopl
  return refused_strictly(syscall(SYS_iopl, 3), detail);
#else
  say(detail, "this processor has no I/O ports");
  return HELD;
#endif
}

/* Names other programs' BPF: needs CAP_SYS_ADMIN of the first user namespace. */
ATTEMPT(try_bpf) {
  UNUSED;
  union bpf_attr attributes = {0};
  return refused_strictly(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attributes, sizeof attributes), detail);
}

/* Everything that runs on CPU 0, the host's work too. */
ATTEMPT(try_perf) {
  UNUSED;
  struct perf_event_attr event = {
      .type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK, .disabled = 1};
  return refused(syscall(SYS_perf_event_open, &event, -1, 0, -1, 0), detail);
}

/* Asks how much of the kernel's log is unread, which needs CAP_SYSLOG whatever dmesg_restrict says. */
ATTEMPT(try_syslog) { UNUSED; return refused_strictly(klogctl(9, NULL, 0), detail); }

/* Sets what Ctrl-Alt-Del does to what it does already. In a pid namespace EINVAL: reboot(2). */
ATTEMPT(try_reboot) {
  UNUSED;
  char now[8];
  bool off = read_file("/proc/sys/kernel/ctrl-alt-del", now, sizeof now) > 0 && now[0] == '0';
  unsigned command = off ? LINUX_REBOOT_CMD_CAD_OFF : LINUX_REBOOT_CMD_CAD_ON;
  return refused(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, NULL), detail);
}

/* Could watch, and hold up, every access to the file system the tree shares with the host. */
ATTEMPT(try_fanotify) { UNUSED; return refused(fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY), detail); }

ATTEMPT(try_memlock) {
  UNUSED;
  struct rlimit limit;
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_max == RLIM_INFINITY) {
    say(detail, "has no limit from the start");
    return SKIPPED;
  }
  limit.rlim_max = RLIM_INFINITY;
  return refused_strictly(setrlimit(RLIMIT_MEMLOCK, &limit), detail);
}

const struct attempt kernel_attempts[] = {
    {"kernel:kexec_load", try_kexec_load, NULL},
    {"kernel:kexec_file_load", try_kexec_file, NULL},
    {"kernel:init_module", try_init_module, NULL},
    {"kernel:finit_module", try_finit_module, NULL},
    {"kernel:delete_module", try_delete_module, NULL},
    {"kernel:swapon", try_swapon, NULL},
    {"kernel:swapoff", try_swapoff, NULL},
    {"kernel:acct", try_acct, NULL},
    {"kernel:clock_settime", try_clock, NULL},
    {"kernel:clock_adjtime", try_adjtime, NULL},
    {"kernel:ioperm", try_ioperm, NULL},
    {"kernel:iopl", try_iopl, NULL},
    {"kernel:bpf", try_bpf, NULL},
    {"kernel:perf_event_open", try_perf, NULL},
    {"kernel:syslog", try_syslog, NULL},
    {"kernel:reboot", try_reboot, NULL},
    {"kernel:fanotify", try_fanotify, NULL},
    {"kernel:memlock", try_memlock, NULL},
    {0},
};
