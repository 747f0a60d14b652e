import { ADDRESS_FAMILIES } from "../spec/address-families.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { systemCallGroups, systemCallNames } from "../spec/system-calls.ts";

/**
 * What a machine may call, as data. Every call has one of three fates:
 *
 * - in `allow`: passes, but for the argument values that `rules` refuse;
 * - in `refuse`: EPERM, the answer programs know from being unprivileged;
 * - in neither: ENOSYS. That is every call berth has no name for, so above all those of kernels newer than berth.
 *   A C library probes for new calls and falls back on ENOSYS alone: with EPERM the first libc built for a newer
 *   kernel fails inside of older filters, as happened with clone3 and faccessat2. nspawn and runc answer likewise.
 */
export interface SeccompPolicy {
  /** What it was made from: policies with equal keys are equal. */
  readonly key: string;
  readonly arch: "x64" | "arm64";
  /** libseccomp's names: the native architecture and those whose programs the same kernel runs too. */
  readonly archs: readonly string[];
  readonly defaultAction: "ENOSYS";
  /** Sorted, groups expanded. Names an architecture (or the libseccomp that compiles this) lacks have no effect. */
  readonly allow: readonly string[];
  readonly refuse: readonly string[];
  readonly rules: readonly ArgumentRule[];
  /** Calls the settings deny but the launch itself needs, so that they stay allowed. */
  readonly kept: readonly string[];
}

/**
 * Answers a call in place of the kernel when all of `args` match, with an error or as if it were done. Only the low 32
 * bits of an argument are compared: the kernel takes all of these as int, so that anything in the high half is the same
 * request. The first rule that matches counts.
 */
export interface ArgumentRule {
  readonly call: string;
  readonly errno: "EPERM" | "EAFNOSUPPORT" | "EINVAL" | "done";
  readonly args: readonly ArgumentTest[];
}

/** It is this value, has any of these bits, or is none of these values. */
export type ArgumentTest = { readonly index: number } & (
  | { readonly value: number }
  | { readonly anyBit: number }
  | { readonly noneOf: readonly number[] }
);

/** The settings that make a policy. */
type Filtering = Pick<MachineSpec, "systemCallFilter" | "suppressSync" | "addressFamilies">;

const ARCHS = { x64: ["x86_64", "x86", "x32"], arm64: ["aarch64", "arm"] } as const;

/**
 * systemd-nspawn's list, measured with its version 252 by reading the filters it loads. Differences:
 *
 * - @aio without io_uring: what goes through a ring is never seen by a filter, and its kernel side has the worst
 *   record of all calls (Docker's default refuses it too). userfaultfd is left out as a tool of kernel exploits.
 *   Programs that can use these fall back, as they do where the kernel is built without them.
 * - Calls newer than nspawn 252 that need no privilege: the calls of Landlock, futex2, shadow stacks and the like.
 */
const DEFAULT_ALLOW = `
  @basic-io @chown @default @file-system @io-event @ipc @mount @network-io @process @resources @sandbox @setuid
  @signal @sync @timer
  io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit

  arm_fadvise64_64 cachestat capget capset copy_file_range fadvise64 fadvise64_64 flock get_mempolicy getcpu
  getpriority ioctl ioprio_get kcmp lsm_get_self_attr lsm_list_modules madvise map_shadow_stack mincore mremap
  name_to_handle_at oldolduname olduname personality readahead readdir remap_file_pages sched_get_priority_max
  sched_get_priority_min sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
  sched_rr_get_interval_time64 sendfile sendfile64 setdomainname setfsgid setfsgid32 setfsuid setfsuid32 sethostname
  setpgid setsid splice sysinfo tee umask uname vmsplice`;

/** What a machine that retains a capability may call besides; measured likewise, one capability at a time. */
const ALLOW_BY_CAPABILITY: Readonly<Record<string, string>> = {
  CAP_IPC_LOCK: "@memlock",
  CAP_SYS_BOOT: "reboot",
  CAP_SYS_MODULE: "@module",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_PTRACE: "ptrace",
  CAP_SYS_RAWIO: "@raw-io",
  CAP_SYS_TIME: "@clock",
  CAP_SYS_TTY_CONFIG: "vhangup",
  CAP_SYSLOG: "syslog",
};

/** The launch runs these after it has loaded the filter. */
const NEEDED_BY_LAUNCH = ["capset", "close_range", "execve", "exit", "exit_group", "prctl", "rt_sigreturn", "write"];

const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
const AF_NETLINK = 16;
const NETLINK_AUDIT = 9;
const AF_VSOCK = 40;
const AF_QIPCRTR = 42;

const RULES: readonly ArgumentRule[] = [
  // Both put characters into a terminal's input as if somebody had typed them: a way out of an attached console.
  { call: "ioctl", errno: "EPERM", args: [{ index: 1, value: TIOCSTI }] },
  { call: "ioctl", errno: "EPERM", args: [{ index: 1, value: TIOCLINUX }] },
  // The audit subsystem answers to the host's user namespace alone, and dbus, PAM and sshd treat its refusal as an
  // error; "no such protocol" is what they take for a kernel without audit. nspawn does the same.
  {
    call: "socket",
    errno: "EAFNOSUPPORT",
    args: [
      { index: 0, value: AF_NETLINK },
      { index: 2, value: NETLINK_AUDIT },
    ],
  },
  // Families that heed no network namespace: the hypervisor's sockets, and those of a phone's or laptop's modem. Not
  // told apart in i386's socketcall, whose arguments are in memory: a 32-bit program still has them, unless
  // RestrictAddressFamilies= is set.
  { call: "socket", errno: "EAFNOSUPPORT", args: [{ index: 0, value: AF_VSOCK }] },
  { call: "socket", errno: "EAFNOSUPPORT", args: [{ index: 0, value: AF_QIPCRTR }] },
];

/** O_DSYNC of asm-generic/fcntl.h, which is part of O_SYNC too. */
const O_DSYNC = 0x1000;

/** What openat2 is asked for lies in memory, where a filter can't look: O_SYNC there is passed on. */
function syncRules(): readonly ArgumentRule[] {
  return [
    ...(systemCallGroups().get("@sync") ?? []).map((call): ArgumentRule => ({ call, errno: "done", args: [] })),
    { call: "open", errno: "EINVAL", args: [{ index: 1, anyBit: O_DSYNC }] },
    { call: "openat", errno: "EINVAL", args: [{ index: 2, anyBit: O_DSYNC }] },
  ];
}

/** linux/net.h: the request of i386's socketcall that makes a socket. */
const SYS_SOCKET = 1;

/** As systemd.exec(5), RestrictAddressFamilies=. Which family a socketcall asks for can't be seen, so it makes none at all. */
function familyRules({ addressFamilies }: Filtering): readonly ArgumentRule[] {
  const [first] = addressFamilies;
  if (first === undefined) return [];
  let allowed = first.value.change !== "deny";
  const listed = new Set<number>();
  for (const { value } of addressFamilies) {
    if (value.change === "none") {
      allowed = true;
      listed.clear();
    }
    const adds = (value.change === "allow") === allowed;
    for (const family of value.families) {
      const number = ADDRESS_FAMILIES.get(family) ?? -1;
      if (adds) listed.add(number);
      else listed.delete(number);
    }
  }
  const families = [...listed].sort((a, b) => a - b);
  const tests: readonly ArgumentTest[] = allowed
    ? [{ index: 0, noneOf: families }]
    : families.map((value) => ({ index: 0, value }));
  return [
    ...tests.map((test): ArgumentRule => ({ call: "socket", errno: "EAFNOSUPPORT", args: [test] })),
    { call: "socketcall", errno: "EAFNOSUPPORT", args: [{ index: 0, value: SYS_SOCKET }] },
  ];
}

/**
 * Names this version's lists, here and in spec/system-calls.ts: a filter that is kept from an earlier start is found by
 * it. A test has the checksum of what the lists make, so that they don't change without it.
 */
export const LISTS_VERSION = 1;

/**
 * The policy that the settings and `capabilities` (canonical names, those the machine retains) ask for.
 * SystemCallFilter= works as systemd-nspawn(1) says under --system-call-filter=: allowed calls are added to the
 * default list, and a denied call is denied wherever the two lists meet, whatever their order.
 */
export function seccompPolicy(spec: Filtering, capabilities: readonly string[], arch: "x64" | "arm64"): SeccompPolicy {
  const { systemCallFilter, suppressSync, addressFamilies } = spec;
  const lines = [...systemCallFilter, suppressSync, ...addressFamilies].map(({ value }) => value);
  const key = JSON.stringify([LISTS_VERSION, lines, capabilities, arch]);
  let policy = policies.get(key);
  if (policy === undefined) {
    policy = makePolicy(key, spec, capabilities, arch);
    if (policies.size === POLICIES_MAX) policies.clear();
    policies.set(key, policy);
  }
  return policy;
}

/** The machines of a host have few different ones. */
const policies = new Map<string, SeccompPolicy>();
const POLICIES_MAX = 16;

type Lists = Pick<SeccompPolicy, "allow" | "refuse" | "kept">;

/** The longest part of a plan, 400 names, is made when somebody looks: a start goes by the key. */
function makePolicy(
  key: string,
  spec: Filtering,
  capabilities: readonly string[],
  arch: "x64" | "arm64",
): SeccompPolicy {
  let made: Lists | undefined;
  const lists = (): Lists => {
    made ??= makeLists(spec, capabilities);
    return made;
  };
  return {
    key,
    arch,
    archs: ARCHS[arch],
    defaultAction: "ENOSYS",
    get allow() {
      return lists().allow;
    },
    get refuse() {
      return lists().refuse;
    },
    rules: [...RULES, ...(spec.suppressSync.value ? syncRules() : []), ...familyRules(spec)],
    get kept() {
      return lists().kept;
    },
  };
}

function makeLists(spec: Filtering, capabilities: readonly string[]): Lists {
  const denied = expand(namesOf(spec, "deny"));
  const asked = expand([
    ...words(DEFAULT_ALLOW),
    ...capabilities.flatMap((capability) => words(ALLOW_BY_CAPABILITY[capability] ?? "")),
    ...namesOf(spec, "allow"),
  ]);
  const allow = new Set([...asked].filter((call) => !denied.has(call)).concat(NEEDED_BY_LAUNCH));
  return {
    allow: [...allow].sort(),
    refuse: [...expand(["@known"])].filter((call) => !allow.has(call)).sort(),
    kept: NEEDED_BY_LAUNCH.filter((call) => denied.has(call)),
  };
}

function namesOf(spec: Filtering, change: "allow" | "deny"): readonly string[] {
  return spec.systemCallFilter.filter(({ value }) => value.change === change).flatMap(({ value }) => value.names);
}

/** The system calls that `names` stand for, groups in groups included. */
function expand(names: readonly string[]): Set<string> {
  const calls = new Set<string>();
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const members = systemCallGroups().get(name);
    if (members !== undefined) members.forEach(visit);
    else if (systemCallNames().has(name)) calls.add(name);
    // The spec was validated; an unknown name here is a typing error in a table above, or a caller that skipped it.
    else throw new Error(`unknown system call or group ${name}`);
  };
  names.forEach(visit);
  return calls;
}

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}
