import { BerthError } from "../errors.ts";
import koffi from "./koffi.ts";

/**
 * libseccomp as the host's table of system call numbers: it knows those of every architecture, which no header on
 * one host does. Its filter compiler is not used, see exec/seccomp-program.ts.
 *
 * Sources: seccomp_arch_resolve_name in seccomp_arch_add(3), seccomp_syscall_resolve_name(3).
 */
const LIBRARY = "libseccomp.so.2";

/**
 * Calls that the libseccomp of a supported host may be too old for (Debian 12 has 2.5.4). Since 424 a new call has
 * the same number on every architecture (Linux, scripts/syscall.tbl).
 */
const NEW_CALLS: ReadonlyMap<string, number> = new Map([
  ["cachestat", 451],
  ["fchmodat2", 452],
  ["map_shadow_stack", 453],
  ["futex_wake", 454],
  ["futex_wait", 455],
  ["futex_requeue", 456],
  ["statmount", 457],
  ["listmount", 458],
  ["lsm_get_self_attr", 459],
  ["lsm_set_self_attr", 460],
  ["lsm_list_modules", 461],
  ["mseal", 462],
  ["setxattrat", 463],
  ["getxattrat", 464],
  ["listxattrat", 465],
  ["removexattrat", 466],
  ["open_tree_attr", 467],
  ["file_getattr", 468],
  ["file_setattr", 469],
]);

/**
 * i386 has these both as calls of their own and, older, as requests of the one call socketcall or ipc. libseccomp
 * tells no number for a call with two ways in. (asm/unistd_32.h)
 */
const I386_CALLS: ReadonlyMap<string, number> = new Map([
  ["recvmmsg", 337],
  ["sendmmsg", 345],
  ["socket", 359],
  ["socketpair", 360],
  ["bind", 361],
  ["connect", 362],
  ["listen", 363],
  ["accept4", 364],
  ["getsockopt", 365],
  ["setsockopt", 366],
  ["getsockname", 367],
  ["getpeername", 368],
  ["sendto", 369],
  ["sendmsg", 370],
  ["recvfrom", 371],
  ["recvmsg", 372],
  ["shutdown", 373],
  ["semget", 393],
  ["semctl", 394],
  ["shmget", 395],
  ["shmctl", 396],
  ["shmat", 397],
  ["shmdt", 398],
  ["msgget", 399],
  ["msgsnd", 400],
  ["msgrcv", 401],
  ["msgctl", 402],
]);

/** __X32_SYSCALL_BIT of asm/unistd.h, which every x32 number has. */
const X32_BIT = 0x4000_0000;

/**
 * The numbers of those of `names` that the architecture `arch` (libseccomp's name: `x86_64`, `x86`, `x32`,
 * `aarch64`, `arm`) has. The library is loaded at the first call.
 * @throws BerthError when the library is missing or does not know `arch`
 */
export function systemCallNumbers(arch: string, names: readonly string[]): ReadonlyMap<string, number> {
  const { resolveArch, resolveCall } = library();
  const token = resolveArch(arch);
  if (token === 0) throw new BerthError(`${LIBRARY} does not know the architecture ${arch}`);
  const numbers = new Map<string, number>();
  for (const name of names) {
    // Negative: a call that other architectures have, or none that this version knows.
    const known = resolveCall(token, name);
    const number = known >= 0 ? known : numberItLacks(arch, name);
    if (number !== undefined) numbers.set(name, number);
  }
  return numbers;
}

function numberItLacks(arch: string, name: string): number | undefined {
  if (arch === "x86" && I386_CALLS.has(name)) return I386_CALLS.get(name);
  const number = NEW_CALLS.get(name);
  return number !== undefined && arch === "x32" ? X32_BIT + number : number;
}

interface Library {
  /** SCMP_ARCH_*, 0 for a name it does not know. */
  readonly resolveArch: (name: string) => number;
  readonly resolveCall: (arch: number, name: string) => number;
}

let loaded: Library | undefined;

function library(): Library {
  loaded ??= load();
  return loaded;
}

function load(): Library {
  try {
    const seccomp = koffi.load(LIBRARY);
    return {
      resolveArch: seccomp.func("uint32_t seccomp_arch_resolve_name(const char *name)") as Library["resolveArch"],
      resolveCall: seccomp.func(
        "int seccomp_syscall_resolve_name_arch(uint32_t arch, const char *name)",
      ) as Library["resolveCall"],
    };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.replace("Failed to load shared library: ", "") : String(cause);
    throw new BerthError(`can't load ${LIBRARY}, which numbers the calls of a machine's system call filter: ${why}`, {
      hint: why.includes("No such file") ? "apt-get install libseccomp2" : undefined,
      cause,
    });
  }
}
