import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileFilter, loadFilter } from "../../src/exec/seccomp-filter.ts";
import { seccompPolicy } from "../../src/plan/seccomp-policy.ts";
import type { AddressFamilyChange } from "../../src/spec/machine-spec.ts";
import { systemCallNumbers } from "../../src/sys/libseccomp.ts";
import { filtering } from "../lib/filtering.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { needs, needsHere } from "../lib/requires.ts";

/** Loads the filter in the file argv[1] ("-": none), then makes one call for each `ABI:NUMBER:A0:A1:A2` and prints its errno. */
const PROBE = String.raw`
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static long i386(long number, long a0, long a1, long a2) {
#ifdef __x86_64__
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a0), "c"(a1), "d"(a2), "S"(0), "D"(0)
                   : "memory", "r8", "r9", "r10", "r11");
  return (int)result;
#else
  return -ENOSYS;
#endif
}

int main(int argc, char **argv) {
  static struct sock_filter filter[4096];
  if (strcmp(argv[1], "-") != 0) {
    int fd = open(argv[1], O_RDONLY);
    ssize_t size = read(fd, filter, sizeof filter);
    struct sock_fprog program = {size / sizeof filter[0], filter};
    if (size <= 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return perror("load"), 1;
  }
  for (int i = 2; i < argc; i++) {
    char *at = strchr(argv[i], ':') + 1;
    unsigned long v[4] = {0};
    for (int n = 0; n < 4; n++, at++) v[n] = strtoul(at, &at, 0);
    long result = argv[i][0] == 'i' ? i386(v[0], v[1], v[2], v[3])
                                    : (syscall(v[0], v[1], v[2], v[3], 0, 0, 0) == -1 ? -errno : 0);
    printf("%ld\n", result < 0 ? -result : 0);
  }
  fflush(stdout);
  _exit(0);
}
`;

const ARCH = process.arch === "arm64" ? "arm64" : "x64";
const NATIVE = ARCH === "arm64" ? "aarch64" : "x86_64";
const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

let directory: string;
let probe: string;

const ready = needs("root", "cc");
checkLeaks({ scope: "file" });

beforeAll(() => {
  if (!ready) return;
  directory = mkdtempSync(join(tmpdir(), "berth-seccomp-"));
  probe = join(directory, "probe");
  writeFileSync(`${probe}.c`, PROBE);
  execFileSync("cc", ["-O1", "-static", "-o", probe, `${probe}.c`]);
});
afterAll(() => {
  if (ready) rmSync(directory, { recursive: true });
});

interface Call {
  readonly name: string;
  readonly args?: readonly bigint[];
  readonly arch?: string;
}

/** Errno of each call under `filter`; 0 for success. */
function errnos(filter: Buffer | undefined, calls: readonly Call[]): readonly number[] {
  const path = filter === undefined ? "-" : join(directory, "filter");
  if (filter !== undefined) writeFileSync(path, filter);
  const words = calls.map(({ name, args = [], arch = NATIVE }) => {
    const number = systemCallNumbers(arch, [name]).get(name);
    if (number === undefined) throw new Error(`${arch} has no ${name}`);
    const [a0 = 0n, a1 = 0n, a2 = 0n] = args;
    return [arch === "x86" ? "i386" : "native", number, a0, a1, a2].join(":");
  });
  const output = execFileSync(probe, [path, ...words], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  return output.trim().split("\n").map(Number);
}

const ALL = 0xffff_ffff_ffff_ffffn;
const HIGH = 0xffff_ffff_0000_0000n;
const TIOCSTI = 0x5412n;
const TIOCLINUX = 0x541cn;
const TIOCGWINSZ = 0x5413n;
const AF_NETLINK = 16n;
const SOCK_RAW = 3n;

/** Harmless by their arguments, should a filter let them through. */
const ALLOWED: readonly Call[] = [
  { name: "getpid" },
  { name: "mount", args: [ALL, ALL, ALL] },
  { name: "umount2", args: [ALL, ALL] },
  { name: "unshare", args: [ALL] },
  { name: "setns", args: [ALL, ALL] },
  { name: "clone3", args: [0n, 0n] },
  { name: "fsopen", args: [ALL, ALL] },
  { name: "move_mount", args: [ALL, ALL, ALL] },
  { name: "open_tree", args: [ALL, ALL, ALL] },
  { name: "openat2", args: [ALL, ALL, ALL] },
  { name: "execve", args: [ALL] },
  { name: "capset", args: [ALL, ALL] },
  { name: "close_range", args: [5n, 4n] },
  { name: "prctl", args: [ALL] },
  { name: "write", args: [ALL] },
  { name: "name_to_handle_at", args: [ALL, ALL, ALL] },
  { name: "landlock_create_ruleset", args: [ALL, ALL, ALL] },
  { name: "ioctl", args: [0n, TIOCGWINSZ] },
  { name: "socket", args: [AF_NETLINK, SOCK_RAW, 0n] },
  { name: "socket", args: [1n, 1n, 0n] },
];

const DENIED: readonly Call[] = [
  { name: "settimeofday", args: [0n, 0n] },
  { name: "keyctl", args: [ALL] },
  { name: "add_key", args: [ALL, ALL, ALL] },
  { name: "request_key", args: [ALL, ALL, ALL] },
  { name: "bpf", args: [ALL] },
  { name: "perf_event_open", args: [0n, 0n, ALL] },
  { name: "open_by_handle_at", args: [ALL, ALL, ALL] },
  { name: "kexec_load", args: [0n, ALL, ALL] },
  { name: "finit_module", args: [ALL, ALL, ALL] },
  { name: "swapoff", args: [ALL] },
  { name: "clock_settime", args: [ALL, ALL] },
  { name: "reboot", args: [0n, 0n, 0n] },
  { name: "ptrace", args: [ALL, ALL] },
  { name: "io_uring_setup", args: [ALL, ALL] },
  { name: "userfaultfd", args: [ALL] },
  { name: "ioctl", args: [0n, TIOCSTI] },
  { name: "ioctl", args: [0n, TIOCLINUX] },
  { name: "ioctl", args: [0n, HIGH | TIOCSTI] },
  { name: "ioctl", args: [ALL, HIGH | TIOCLINUX] },
];

const label = ({ name, args = [] }: Call): string => `${name}(${args.map((arg) => `0x${arg.toString(16)}`)})`;
const byCall = (calls: readonly Call[], results: readonly number[]): object =>
  Object.fromEntries(calls.map((call, i) => [label(call), results[i]]));

const compile = (capabilities: readonly string[] = []): Buffer =>
  compileFilter(seccompPolicy(filtering(), capabilities, ARCH));

test("allowed calls reach the kernel", () => {
  const results = errnos(compile(), ALLOWED);
  const stopped = ALLOWED.filter((_, i) => results[i] === EPERM || results[i] === ENOSYS);
  expect(stopped.map(label)).toEqual([]);
});

test("denied calls give EPERM", () => {
  const results = byCall(DENIED, errnos(compile(), DENIED));
  expect(results).toEqual(
    byCall(
      DENIED,
      DENIED.map(() => EPERM),
    ),
  );
});

test("it is the filter that denies: without one, most of these calls fail by their arguments", () => {
  const results = errnos(undefined, DENIED);
  expect(results.filter((errno) => errno === EPERM).length).toBeLessThan(DENIED.length / 3);
});

test("audit sockets are as if the kernel had no audit", () => {
  const audit = 9n;
  const calls = [
    { name: "socket", args: [AF_NETLINK, SOCK_RAW, audit] },
    { name: "socket", args: [AF_NETLINK, SOCK_RAW | 0x80000n, HIGH | audit] },
  ];
  expect(errnos(compile(), calls)).toEqual([EAFNOSUPPORT, EAFNOSUPPORT]);
});

test("families of sockets that no network namespace holds do not exist, others do", () => {
  const [AF_UNIX, AF_INET, AF_VSOCK, AF_QIPCRTR] = [1n, 2n, 40n, 42n];
  const calls = [AF_VSOCK, HIGH | AF_VSOCK, AF_QIPCRTR, AF_UNIX, AF_INET].map((family) => ({
    name: "socket",
    args: [family, 2n, 0n],
  }));
  expect(errnos(compile(), calls)).toEqual([EAFNOSUPPORT, EAFNOSUPPORT, EAFNOSUPPORT, 0, 0]);
});

test("a capability opens its calls to the kernel", () => {
  const calls = [
    { name: "settimeofday", args: [0n, 0n] },
    { name: "keyctl", args: [ALL] },
  ];
  expect(errnos(compile(["CAP_SYS_TIME"]), calls)).toEqual([0, EPERM]);
});

test("numbers nobody knows give ENOSYS, not EPERM", () => {
  const filter = compile();
  const path = join(directory, "unknown");
  writeFileSync(path, filter);
  const output = execFileSync(probe, [path, "native:499:0:0:0", "native:100000:0:0:0"], { encoding: "utf8" });
  expect(output).toBe(`${ENOSYS}\n${ENOSYS}\n`);
});

describe.runIf(ARCH === "x64")("i386 programs (int 0x80)", () => {
  needs("i386");
  const i386 = (calls: readonly Call[]): readonly Call[] =>
    calls.map(({ name, args = [] }) => ({ name, args: args.map((arg) => arg & 0xffff_ffffn), arch: "x86" }));

  test("are denied the same calls", () => {
    const calls = i386([...DENIED, { name: "clock_settime64", args: [ALL, ALL] }, { name: "stime", args: [ALL] }]);
    expect(byCall(calls, errnos(compile(), calls))).toEqual(
      byCall(
        calls,
        calls.map(() => EPERM),
      ),
    );
  });

  test("are allowed the same, and the calls of their own", () => {
    const calls = i386([
      ...ALLOWED,
      { name: "mmap2", args: [0n, 0n, 0n] },
      { name: "umount", args: [ALL] },
      { name: "waitpid", args: [ALL, 0n, 1n] },
      { name: "ipc", args: [ALL] },
    ]);
    const results = errnos(compile(), calls);
    const stopped = calls.filter((_, i) => results[i] === EPERM || (results[i] === ENOSYS && calls[i]?.name !== "ipc"));
    expect(stopped.map(label)).toEqual([]);
  });

  test("may call socketcall with anything in the third argument's register", () => {
    const calls = i386([{ name: "socketcall", args: [1n, ALL, 9n] }]);
    expect(errnos(compile(), calls)).toEqual([14]);
  });
});

test("the kernel takes a program with jumps longer than a conditional one reaches", () => {
  const { allow } = seccompPolicy(filtering(), [], ARCH);
  const everySecond = allow.filter((name, i) => i % 2 === 0 && !["fstat", "newfstatat"].includes(name));
  const names = [...everySecond, "mount"];
  const scattered = compileFilter(seccompPolicy(filtering({ calls: [{ change: "deny", names }] }), [], ARCH));
  expect(scattered.length / 8).toBeGreaterThan(500);
  const EINVAL = 22;
  expect(errnos(scattered, [{ name: "mount" }, { name: "prctl", args: [ALL] }])).toEqual([EPERM, EINVAL]);
});

describe("SuppressSync=yes", () => {
  const suppressing = (): Buffer => compileFilter(seccompPolicy(filtering({ suppressSync: true }), [], ARCH));
  const EBADF = 9;
  const EFAULT = 14;
  const EINVAL = 22;
  const O_SYNC = 0x101000n;
  const calls: readonly Call[] = [
    ...["fsync", "fdatasync", "syncfs"].map((name) => ({ name, args: [ALL] })),
    { name: "openat", args: [ALL, 0n, O_SYNC] },
    { name: "openat", args: [ALL, 0n, 0n] },
  ];

  test("what writes to disk is as if done, files for synchronous writing can't be opened, and else nothing changes", () => {
    expect(errnos(suppressing(), calls)).toEqual([0, 0, 0, EINVAL, EFAULT]);
    expect(errnos(compile(), calls)).toEqual([EBADF, EBADF, EBADF, EFAULT, EFAULT]);
  });

  test.runIf(ARCH === "x64")("for programs of 32 bits too", (ctx) => {
    needsHere(ctx, "i386");
    const i386 = [...calls, { name: "open", args: [0n, O_SYNC] }].map((call) => ({ ...call, arch: "x86" }));
    expect(errnos(suppressing(), i386)).toEqual([0, 0, 0, EINVAL, EFAULT, EINVAL]);
  });

  test("what SystemCallFilter= denies stays denied", () => {
    const policy = seccompPolicy(
      filtering({ suppressSync: true, calls: [{ change: "deny", names: ["fsync"] }] }),
      [],
      ARCH,
    );
    expect(errnos(compileFilter(policy), calls.slice(0, 2))).toEqual([EPERM, 0]);
  });
});

describe("RestrictAddressFamilies=", () => {
  const [UNIX, INET, INET6, VSOCK] = [1n, 2n, 10n, 40n];
  const sockets = [UNIX, INET, INET6, AF_NETLINK, VSOCK].map((family) => ({ name: "socket", args: [family, 2n, 0n] }));
  const restricted = (...families: readonly AddressFamilyChange[]): Buffer =>
    compileFilter(seccompPolicy(filtering({ families }), [], ARCH));
  const allow = (...families: string[]): AddressFamilyChange => ({ change: "allow", families });
  const deny = (...families: string[]): AddressFamilyChange => ({ change: "deny", families });
  const none: AddressFamilyChange = { change: "none", families: [] };
  const [NO, OK] = [EAFNOSUPPORT, 0];

  test.each([
    ["allowed ones and no others", [allow("AF_UNIX", "AF_INET")], [OK, OK, NO, NO, NO]],
    ["all but the denied ones", [deny("AF_INET6", "AF_NETLINK")], [OK, OK, NO, NO, NO]],
    ["what a later line adds", [allow("AF_UNIX"), allow("AF_INET6")], [OK, NO, OK, NO, NO]],
    ["what a later line takes away", [allow("AF_UNIX", "AF_INET"), deny("AF_INET")], [OK, NO, NO, NO, NO]],
    ["what a later line gives back", [deny("AF_UNIX", "AF_INET"), allow("AF_INET")], [NO, OK, OK, OK, NO]],
    ["none", [none], [NO, NO, NO, NO, NO]],
    ["none but later ones", [deny("AF_UNIX"), none, allow("AF_INET")], [NO, OK, NO, NO, NO]],
    ["never those that heed no network namespace", [allow("AF_VSOCK")], [NO, NO, NO, NO, NO]],
  ])("%s", (_, lines, expected) => {
    // Even allowed, a socket of this host may not be had: what counts is whether the filter refused it.
    const plain = errnos(undefined, sockets);
    expect(errnos(restricted(...lines), sockets)).toEqual(expected.map((want, i) => (want === OK ? plain[i] : want)));
  });

  test.runIf(ARCH === "x64")("for programs of 32 bits too, whose socketcall makes none at all", (ctx) => {
    needsHere(ctx, "i386");
    const i386 = [
      ...sockets.slice(0, 3),
      { name: "socketcall", args: [1n, ALL] },
      { name: "socketcall", args: [2n, ALL] },
    ].map((call) => ({ ...call, arch: "x86" }));
    const EFAULT = 14;
    expect(errnos(restricted(allow("AF_UNIX")), i386)).toEqual([OK, NO, NO, NO, EFAULT]);
  });
});

test("a cached filter is the compiled one", () => {
  const policy = seccompPolicy(filtering(), [], ARCH);
  const first = loadFilter(policy, directory);
  const never = () => {
    throw new Error("compiled again");
  };
  expect(loadFilter(policy, directory, never)).toEqual(first);
  expect(first).toEqual(compileFilter(policy));
});
