import { type SyscallName, syscallNumber } from "../sys/syscall-numbers.ts";
import { assembleFilter } from "./seccomp-program.ts";

/** What stage.c's stub init does for the rest of its life. */
const CALLS: readonly SyscallName[] = [
  "rt_sigprocmask",
  "signalfd4",
  "prctl",
  "munmap",
  "close_range",
  "clock_gettime",
  "ppoll",
  "read",
  "kill",
  "wait4",
  "reboot",
  "exit_group",
  // Of a ppoll that was interrupted, as the kernel goes on with it.
  "restart_syscall",
];

/**
 * The stub init's own seccomp filter. Whoever gets to act in its place, as who may trace it does where a machine has no
 * user namespace, has these calls and no others.
 */
export function stubFilter(arch: "x64" | "arm64"): Buffer {
  const native = arch === "x64" ? "x86_64" : "aarch64";
  const policy = {
    arch,
    archs: [native],
    defaultAction: "ENOSYS",
    allow: CALLS,
    refuse: [],
    rules: [],
    kept: [],
  } as const;
  return assembleFilter(
    policy,
    (_, names) => new Map(names.map((name) => [name, syscallNumber(name as SyscallName, arch)])),
  );
}
