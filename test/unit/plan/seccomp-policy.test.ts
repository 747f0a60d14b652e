import { expect, test } from "vitest";
import { hash32 } from "../../../src/host/hash.ts";
import { LISTS_VERSION, seccompPolicy } from "../../../src/plan/seccomp-policy.ts";
import { ADDRESS_FAMILIES } from "../../../src/spec/address-families.ts";
import { CAPABILITIES } from "../../../src/spec/capabilities.ts";
import type { SystemCallChange } from "../../../src/spec/machine-spec.ts";
import { systemCallGroups } from "../../../src/spec/system-calls.ts";
import { filtering } from "../../lib/filtering.ts";

function policy(changes: readonly SystemCallChange[] = [], capabilities: readonly string[] = []) {
  return seccompPolicy(filtering({ calls: changes }), capabilities, "x64");
}
const allow = (...names: string[]): SystemCallChange => ({ change: "allow", names });
const deny = (...names: string[]): SystemCallChange => ({ change: "deny", names });

test("what a systemd in a machine needs is allowed", () => {
  expect(policy().allow).toEqual(
    expect.arrayContaining(
      `mount umount2 pivot_root setns unshare clone clone3 fsopen fsmount move_mount open_tree mount_setattr
       name_to_handle_at sethostname setdomainname openat2 faccessat2 fchmodat2 execveat seccomp memfd_create
       pidfd_open signalfd4 timerfd_create inotify_add_watch setgroups capset prctl socket socketcall ipc stat64
       landlock_create_ruleset futex_waitv`.split(/\s+/),
    ),
  );
});

test.each(
  `open_by_handle_at bpf perf_event_open kexec_load kexec_file_load init_module finit_module delete_module
  swapon swapoff acct settimeofday clock_settime clock_settime64 stime adjtimex iopl ioperm syslog keyctl add_key
  request_key io_uring_setup io_uring_enter io_uring_register userfaultfd quotactl fanotify_init modify_ldt vm86
  reboot ptrace pidfd_getfd uselib`.split(/\s+/),
)("%s is refused", (call) => {
  expect(policy().allow).not.toContain(call);
  expect(policy().refuse).toContain(call);
});

test.each([
  ["CAP_IPC_LOCK", ["mlock", "mlock2", "mlockall"]],
  ["CAP_SYS_BOOT", ["reboot"]],
  ["CAP_SYS_MODULE", ["init_module", "finit_module", "delete_module"]],
  ["CAP_SYS_PACCT", ["acct"]],
  ["CAP_SYS_PTRACE", ["ptrace"]],
  ["CAP_SYS_RAWIO", ["iopl", "ioperm"]],
  ["CAP_SYS_TIME", ["clock_settime", "adjtimex", "settimeofday"]],
  ["CAP_SYS_TTY_CONFIG", ["vhangup"]],
  ["CAP_SYSLOG", ["syslog"]],
])("%s adds its calls", (capability, calls) => {
  const without = policy();
  expect(without.refuse).toEqual(expect.arrayContaining(calls));
  expect(policy([], [capability]).allow).toEqual(expect.arrayContaining([...without.allow, ...calls]));
});

test("no capability opens kexec, bpf, perf, keyrings or file handles", () => {
  const all = policy([], ["CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH"]);
  expect(all.refuse).toEqual(
    expect.arrayContaining(["kexec_load", "kexec_file_load", "bpf", "perf_event_open", "keyctl", "open_by_handle_at"]),
  );
});

test("allow and refuse are sorted and never overlap", () => {
  const { allow: allowed, refuse } = policy([allow("@known"), deny("@mount")], ["CAP_SYS_TIME"]);
  expect(allowed).toEqual([...new Set(allowed)].sort());
  expect(refuse).toEqual([...new Set(refuse)].sort());
  expect(allowed.filter((call) => refuse.includes(call))).toEqual([]);
});

test("an allowed group adds to the default list, io_uring with @aio too", () => {
  const { allow: allowed } = policy([allow("@keyring", "@aio")]);
  expect(allowed).toEqual(expect.arrayContaining(["keyctl", "add_key", "io_uring_setup", "read"]));
});

test("a denied group is taken away with the groups in it", () => {
  const { allow: allowed, refuse } = policy([deny("@privileged")]);
  expect(refuse).toEqual(expect.arrayContaining(["chown", "setuid", "setgroups", "pivot_root"]));
  expect(allowed).toContain("read");
});

test("a denied call wins over an allowed one and over a capability, in whatever order", () => {
  for (const changes of [
    [allow("@keyring"), deny("keyctl")],
    [deny("keyctl"), allow("@keyring")],
  ]) {
    const { allow: allowed, refuse } = policy(changes);
    expect(allowed).toContain("add_key");
    expect(refuse).toContain("keyctl");
  }
  expect(policy([deny("ptrace")], ["CAP_SYS_PTRACE"]).refuse).toContain("ptrace");
});

test("what the launch needs stays allowed, and the policy says so", () => {
  const { allow: allowed, kept } = policy([deny("@known")]);
  expect(allowed).toEqual(["capset", "close_range", "execve", "exit", "exit_group", "prctl", "rt_sigreturn", "write"]);
  expect(kept).toEqual(allowed);
  expect(policy([deny("@mount")]).kept).toEqual([]);
});

test("terminal injection, audit sockets and families without namespaces are refused by argument", () => {
  expect(policy().rules).toEqual([
    { call: "ioctl", errno: "EPERM", args: [{ index: 1, value: 0x5412 }] },
    { call: "ioctl", errno: "EPERM", args: [{ index: 1, value: 0x541c }] },
    {
      call: "socket",
      errno: "EAFNOSUPPORT",
      args: [
        { index: 0, value: 16 },
        { index: 2, value: 9 },
      ],
    },
    { call: "socket", errno: "EAFNOSUPPORT", args: [{ index: 0, value: 40 }] },
    { call: "socket", errno: "EAFNOSUPPORT", args: [{ index: 0, value: 42 }] },
  ]);
});

test("each host architecture covers its 32-bit programs", () => {
  expect(seccompPolicy(filtering(), [], "x64").archs).toEqual(["x86_64", "x86", "x32"]);
  expect(seccompPolicy(filtering(), [], "arm64").archs).toEqual(["aarch64", "arm"]);
});

test("the policy survives JSON", () => {
  expect(JSON.parse(JSON.stringify(policy()))).toEqual(policy());
});

test("an unknown name is an error, not a hole", () => {
  expect(() => policy([deny("nosuchcall")]).allow).toThrow("nosuchcall");
});

test("the lists have not changed without their version: filters that are kept are found by it", () => {
  const groups = [...systemCallGroups().keys()];
  const policies = [
    policy([], CAPABILITIES),
    ...groups.map((group) => policy([allow(group)])),
    seccompPolicy(filtering({ suppressSync: true }), [], "x64"),
    seccompPolicy(filtering({ families: [{ change: "deny", families: [...ADDRESS_FAMILIES.keys()] }] }), [], "arm64"),
  ].map(({ allow: allowed, refuse, rules, archs }) => [allowed, refuse, rules, archs]);
  const checksum = hash32(Buffer.from(JSON.stringify(policies)));
  // Another checksum: raise LISTS_VERSION, then write both here.
  expect([LISTS_VERSION, checksum.toString(16)]).toEqual([1, "2cf87ca4"]);
});
