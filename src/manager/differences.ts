import { boundIn } from "../copy/bind.ts";
import { BerthError } from "../errors.ts";
import type { LiveMount } from "../exec/live-mounts.ts";
import type { Paths } from "../host/paths.ts";
import { type AppliedBind, readApply } from "../machine/apply-file.ts";
import type { Prepared } from "../machine/prepare.ts";
import { planAgain } from "../machine/ready-start.ts";
import { type MachineRecord, readPlan } from "../machine/record.ts";
import { type Limits, readLimits } from "../machine/resources.ts";
import { diffPlans } from "../plan/diff.ts";
import { type InitRequest, initRequests } from "../plan/init-requests.ts";
import { type RestartNeed, type SettingsBind, takeApart } from "../plan/live-differences.ts";
import type { MachineSpec } from "../spec/machine-spec.ts";
import { showSource } from "../spec/source.ts";
import { type MachinePolicy, policyOf } from "./policy.ts";

type Requests = { readonly poweroff: InitRequest; readonly reboot: InitRequest };

/** What differs between a running machine and its settings as they are now. */
export interface Differences {
  /** To be done in it now. */
  readonly bind: readonly SettingsBind[];
  readonly unbind: readonly AppliedBind[];
  /** Null: as it is. */
  readonly policy: MachinePolicy | null;
  readonly requests: Requests | null;
  /** For its next start. */
  readonly restart: readonly RestartNeed[];
  /** What somebody has changed in it that no setting asks for: it is left alone. */
  readonly outside: readonly string[];
}

export async function differencesOf(
  machine: MachineRecord,
  policy: MachinePolicy,
  prepared: Prepared,
  paths: Paths,
): Promise<Differences> {
  const { spec } = prepared;
  const before = readPlan(machine.name, paths);
  const { plan: after, input } = await planAgain(prepared, { record: machine, plan: before });
  const wanted = bindsOf(spec);
  const { binds, restart } = takeApart(diffPlans(before, after), before, after, wanted);
  const mounts = boundIn(machine.name, machine.leader.startTime, paths);
  const applied = readApply(machine.name, machine.leader.startTime, paths).binds;
  const [policyNow, requests] = [policyOf(spec), initRequests(input)];
  return {
    bind: binds.filter((bind) => !isBound(bind, mounts, applied)),
    unbind: applied.filter((bind) => isMounted(bind, mounts) && !wanted.some((each) => isSame(each, bind))),
    policy: same(policy, policyNow) ? null : policyNow,
    requests: same(machine.requests, requests) ? null : requests,
    restart,
    outside: [...limitsOutside(machine), ...mountsOutside(mounts, wanted, applied)],
  };
}

function bindsOf(spec: MachineSpec): readonly SettingsBind[] {
  return spec.binds.map(({ value, source: from }) => ({
    ...{ source: value.source, target: value.target, readOnly: value.readOnly, owners: value.idmap },
    plain: value.source !== "" && !value.fromRoot && value.recursive && value.target !== "/",
    from,
  }));
}

/** By `apply` as it is to be, or by hand. */
function isBound(bind: SettingsBind, mounts: readonly LiveMount[], applied: readonly AppliedBind[]): boolean {
  if (!isMounted(bind, mounts)) return false;
  const own = applied.find(({ target }) => target === bind.target);
  return own === undefined || isSame(bind, own);
}

function isMounted({ source, target }: Pick<AppliedBind, "source" | "target">, mounts: readonly LiveMount[]): boolean {
  return mounts.some((mount) => mount.target === target && mount.source === source);
}

function isSame(a: Omit<SettingsBind, "plain" | "from">, b: AppliedBind): boolean {
  return a.source === b.source && a.target === b.target && a.readOnly === b.readOnly && a.owners === b.owners;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** No setting says anything of these; those that a scope of systemd's has by default are not told apart. */
function limitsOutside({ cgroup, unit }: MachineRecord): readonly string[] {
  const limits = readLimits(cgroup);
  const text = (name: string, value: number | string | null, unset: number | null = null): readonly string[] =>
    value === null || value === unset ? [] : [`${name}=${value}`];
  const set: Readonly<Record<keyof Limits, readonly string[]>> = {
    memoryMax: text("MemoryMax", limits.memoryMax),
    memoryHigh: text("MemoryHigh", limits.memoryHigh),
    memorySwapMax: text("MemorySwapMax", limits.memorySwapMax),
    tasksMax: unit === null ? text("TasksMax", limits.tasksMax) : [],
    cpuQuota: text("CPUQuota", limits.cpuQuota === null ? null : `${limits.cpuQuota}%`),
    cpuWeight: text("CPUWeight", limits.cpuWeight, 100),
    ioWeight: text("IOWeight", limits.ioWeight, 100),
    allowedCpus: text("AllowedCPUs", limits.allowedCpus),
  };
  return Object.values(set).flat();
}

function mountsOutside(
  mounts: readonly LiveMount[],
  wanted: readonly SettingsBind[],
  applied: readonly AppliedBind[],
): readonly string[] {
  return mounts
    .filter(
      (mount) =>
        ![...wanted, ...applied].some(({ source, target }) => source === mount.source && target === mount.target),
    )
    .map(({ source, target }) => `${source} is bound on ${target}`);
}

/** `Bind=/srv:/data`, and the line of it. */
export function showBind({ source, target, readOnly }: Omit<AppliedBind, "owners">): string {
  return `${readOnly ? "BindReadOnly" : "Bind"}=${source}${source === target ? "" : `:${target}`}`;
}

export function placeOf({ from }: SettingsBind): string {
  return showSource(from);
}

/** @throws BerthError for one that a `berth run` has: its settings are its command line's, too */
export function requireManaged(machine: MachineRecord): void {
  if (machine.managed) return;
  throw new BerthError(`machine ${machine.name} is run by berth run, whose options no settings file tells`, {
    kind: "NotSupported",
    hint: "berth bind and berth set-property change it while it runs",
  });
}
