import type { Problem } from "../spec/problem.ts";
import { printable } from "../spec/quote.ts";
import { DEFAULT } from "../spec/source.ts";
import { bindOwnersFit } from "./bind-owners.ts";
import { bindUsersFit, boundUser } from "./bind-users.ts";
import { credentialsExist } from "./credentials.ts";
import { tmpfsOwnersFit } from "./custom-mounts.ts";
import { diskFits } from "./disk.ts";
import { bindKey, type InitMachine } from "./facts.ts";
import type { PlanInput } from "./input.ts";
import { journalFits } from "./journal.ts";
import { mostPossible } from "./limits.ts";
import { makeMissing } from "./missing-source.ts";
import { layersFit } from "./overlays.ts";
import { ownersFit } from "./owner-checks.ts";
import { PERSONALITY_BITS } from "./process.ts";
import { rootFits } from "./root-checks.ts";
import { stackFits } from "./stack.ts";
import { unitOf } from "./unit.ts";
import { foreignId, userFault } from "./user.ts";

type Check = (input: PlanInput) => readonly Problem[];

/** What facts rule out, before anything is made. All are reported together. */
const CHECKS: readonly Check[] = [
  kernelIsNew,
  cgroup2IsMounted,
  unitsAreThere,
  selinuxIsOn,
  initIsThere,
  initRunsHere,
  ownersFit,
  rangeIsFree,
  rootFits,
  stackFits,
  diskFits,
  bindsExist,
  bindOwnersFit,
  layersFit,
  journalFits,
  tmpfsOwnersFit,
  bindUsersFit,
  userIsThere,
  personalityIsPossible,
  limitsArePossible,
  credentialsExist,
];

export function checkPreconditions(input: PlanInput): readonly Problem[] {
  return CHECKS.flatMap((check) => check(input));
}

const OLDEST_KERNEL = [6, 1] as const;

function kernelIsNew({ host }: PlanInput): readonly Problem[] {
  const [major, minor] = host.kernel.version;
  if (major > OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor >= OLDEST_KERNEL[1])) return [];
  return [
    error(`the kernel is ${host.kernel.release}`, "6.1 or newer", "upgrade the host, or use its backports kernel"),
  ];
}

function cgroup2IsMounted({ host }: PlanInput): readonly Problem[] {
  if (host.cgroup.mount !== null) return [];
  const hint = "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1";
  return [error("no cgroup2 hierarchy is mounted", "one, for the machine's processes", hint)];
}

/** --slice= and --property= are about units of systemd's; where there are none, --keep-unit asks for nothing. */
function unitsAreThere({ spec: { keepUnit, slice, unitProperties }, host }: PlanInput): readonly Problem[] {
  if (!host.systemd)
    return [slice, ...unitProperties].flatMap(({ source }) => {
      if (source.from === "default") return [];
      const hint = "leave it out: the machine gets a cgroup of its own, see its path in berth status and cgroups(7)";
      return { severity: "error", source, what: "there are no units here: systemd does not run this host", hint };
    });
  if (!keepUnit.value) return [];
  const own = unitOf(host.cgroup.own);
  if (own !== null && !own.ofUser) return [];
  const what = own === null ? "berth runs in no unit that could be kept" : `${own.name} is a user's session`;
  const hint = "without --keep-unit the machine gets a scope of its own; in a service, Delegate=yes lets it keep that";
  const expected = "a service or scope of the system's";
  return [{ severity: "error", source: keepUnit.source, what, expected, hint }];
}

function selinuxIsOn({ spec: { selinuxContext, selinuxApifsContext }, host }: PlanInput): readonly Problem[] {
  if (host.selinux) return [];
  return [selinuxContext, selinuxApifsContext]
    .filter(({ value }) => value !== undefined)
    .map(({ source }) => {
      const hint = "sestatus says more; without the option the machine starts as usual";
      return { severity: "error", source, what: "SELinux is off on this host: there are no contexts", hint };
    });
}

function initIsThere({ spec, machine }: PlanInput): readonly Problem[] {
  const { init, initFault } = machine.tree;
  if (!spec.boot.value || init !== null) return [];
  return [
    {
      severity: "error",
      source: spec.boot.source,
      what: `${spec.root.value} has no init to boot${initFault === undefined ? "" : `: ${printable(initFault)}`}`,
      expected: "an executable /usr/lib/systemd/systemd, /lib/systemd/systemd or /sbin/init in it",
      hint: "install an init in the tree (Debian: systemd-sysv), or run a command instead",
    },
  ];
}

const RUNS_ON: Readonly<Record<"x64" | "arm64", readonly InitMachine[]>> = {
  x64: ["x86-64", "i386", "script", "unknown"],
  arm64: ["aarch64", "arm", "script", "unknown"],
};

function initRunsHere({ spec, host, machine }: PlanInput): readonly Problem[] {
  const { init } = machine.tree;
  if (!spec.boot.value || init === null || RUNS_ON[host.arch].includes(init.machine)) return [];
  return [
    {
      severity: "error",
      source: spec.root.source,
      what: `${init.path} of ${spec.root.value} is built for ${init.machine}`,
      expected: `a tree for this host's ${host.arch === "x64" ? "x86-64" : "arm64"}`,
      hint: "bootstrap the tree for this architecture",
    },
  ];
}

function rangeIsFree({ spec, machine }: PlanInput): readonly Problem[] {
  if (spec.privateUsers.value.mode !== "pick" || machine.rangeBase !== null) return [];
  return [
    {
      severity: "error",
      source: spec.privateUsers.source,
      what: "no range of 65536 ids is free between 524288 and 1878982656",
      hint: "machines that are removed give theirs back; berth doctor counts what is left",
    },
  ];
}

function bindsExist({ spec, machine }: PlanInput): readonly Problem[] {
  return spec.binds.flatMap(({ value, source }): Problem[] => {
    const facts = machine.bindSources[bindKey(value)];
    if (facts === undefined || facts.type !== "missing") return [];
    const what = `the source ${bindKey(value)} of the bind on ${value.target} can't be opened: ${facts.errno}`;
    const hint = makeMissing(value, facts.errno);
    return [
      {
        severity: "error",
        source,
        what,
        expected: `an existing path ${value.fromRoot ? "in the tree" : "on the host"}`,
        ...(hint ? { hint } : {}),
      },
    ];
  });
}

function userIsThere(input: PlanInput): readonly Problem[] {
  const { user } = input.machine;
  if (user === null || boundUser(input, input.spec.user.value) !== undefined) return [];
  const { value: name, source } = input.spec.user;
  const fault = userFault(name, user, input.spec.root.value);
  if (fault !== undefined) return [{ severity: "error", source, ...fault, what: `User=${name}: ${fault.what}` }];
  const foreign = "missing" in user ? undefined : foreignId(user, input);
  if (foreign === undefined) return [];
  const what = `User=${name}: id ${foreign} is beyond the machine's own`;
  return [{ severity: "error", source, what, hint: "PrivateUsers=BASE:SIZE gives it more" }];
}

function personalityIsPossible({ spec, host }: PlanInput): readonly Problem[] {
  const { value, source } = spec.personality;
  const possible = PERSONALITY_BITS[host.arch];
  if (value === undefined || possible[value] !== undefined) return [];
  const what = `Personality=${value}: this host is ${host.arch === "x64" ? "x86-64" : "arm64"}`;
  return [{ severity: "error", source, what, expected: Object.keys(possible).join(" or ") }];
}

/** `infinity` is as much as there is; a number is meant. */
function limitsArePossible(input: PlanInput): readonly Problem[] {
  return input.spec.limits.flatMap(({ value: { name, soft, hard }, source }): Problem[] => {
    const most = mostPossible(name, input);
    if (most === null || ((hard === null || hard <= most) && (soft === null || soft <= most))) return [];
    const what = `Limit${name.toUpperCase()}=: ${hard ?? soft} is more than berth can give`;
    const hint =
      name === "nofile" && most === input.machine.openFilesMax
        ? "sysctl fs.nr_open=NUMBER raises what the system allows"
        : "berth has no CAP_SYS_RESOURCE here, so its own hard limit holds: see ulimit -H";
    return [{ severity: "error", source, what, expected: `at most ${most}, or infinity for as much`, hint }];
  });
}

function error(what: string, expected: string, hint: string): Problem {
  return { severity: "error", source: DEFAULT, what, expected, hint };
}
