import type { Inspection } from "../machine/inspect.ts";
import type { MachineRecord } from "../machine/record.ts";
import type { MachineDetails } from "../manager/machine-details.ts";
import { inSeconds } from "../manager/timers.ts";
import type { InitName } from "../plan/init-requests.ts";
import { printable, visible } from "../spec/quote.ts";
import { formatBytes } from "./sizes.ts";

/** What root learns of a machine besides its details. */
export interface Inside {
  /** Of one that runs. */
  readonly record: MachineRecord | null;
  readonly inspection: Inspection | null;
  /** Its last lines on the console. */
  readonly console: readonly string[];
}

type Row = readonly [string, string];

export function statusPage(details: MachineDetails, inside: Inside | null): string {
  const { record = null, inspection = null, console = [] } = inside ?? {};
  const rows: readonly Row[] = [
    ["State", stateText(details)],
    ...(details.failure === null ? [] : [["Failure", details.failure.reason] as const]),
    ...reasonRow(details),
    ...exitRow(details),
    ...restartsRow(details),
    ...(details.leader === null ? [] : [["OS", printable(inspection?.os ?? details.os ?? "unknown")] as const]),
    ...initRow(details, inspection),
    ...(inspection?.problem ? [["Inside", inspection.problem] as const] : []),
    ...(inspection === null ? [] : [["Boot", bootText(inspection.boot)] as const]),
    ...details.addresses.map((address, index): Row => [index === 0 ? "Address" : "", address]),
    ...usageRow(details),
    ["Tree", `${details.rootDirectory ?? "unknown"}${record?.layer ? " (changes are thrown away)" : ""}`],
    ...(details.cgroup === null ? [] : [["Ids", idsText(details)] as const, ["Cgroup", details.cgroup] as const]),
    ...details.weaknesses.map((what): Row => ["Weaker", what]),
    ...console.map((line, index): Row => [index === 0 ? "Console" : "", line]),
  ];
  return `${details.name}\n${rows.map(([key, value]) => `  ${key.padEnd(8)}${visible(value)}\n`).join("")}`;
}

function stateText({ state, ready, since, status, startsAgain }: MachineDetails): string {
  if (startsAgain !== null) return `${state}, is started again ${inSeconds(Date.parse(startsAgain))}`;
  if (state === "stopped" || state === "failed") return state;
  const says = ready || status === null ? "" : ` (${printable(status)})`;
  return `${state}${ready ? "" : `, not ready yet${says}`}${since === null ? "" : `, ${state === "paused" ? "started" : "since"} ${since}`}`;
}

/** Of one that is to boot again, where it has not failed. */
function reasonRow({ state, startsAgain, reason }: MachineDetails): readonly Row[] {
  return startsAgain !== null || (state === "stopped" && reason !== null) ? [["Reason", reason ?? "unknown"]] : [];
}

function exitRow({ exit }: MachineDetails): readonly Row[] {
  if (exit === null) return [];
  const how = { poweroff: "powered itself off", reboot: "rebooted", exited: `PID 1 exited with status ${exit.status}` };
  return [["Ended", exit.reason === "killed" ? `PID 1 was killed by ${exit.signal}` : how[exit.reason]]];
}

function restartsRow({ restarts }: MachineDetails): readonly Row[] {
  return restarts === 0
    ? []
    : [["Again", `started again ${restarts === 1 ? "once" : `${restarts} times`} without being asked to`]];
}

const INIT_WORDS: ReadonlyMap<string, string> = new Map<InitName, string>([
  ["stub", "the stub of ProcessTwo="],
  ["other", "unknown"],
]);

function initRow({ init, leader }: MachineDetails, inspection: Inspection | null): readonly Row[] {
  if (leader === null) return [];
  const name = init === null ? "none, a command is PID 1" : (INIT_WORDS.get(init) ?? init);
  const state = inspection?.initState ? [printable(inspection.initState)] : [];
  return [["Init", [name, ...state, `PID ${leader} on the host`].join(", ")]];
}

function usageRow({ usage: { memory, cpuUsec, tasks }, limits, cgroup }: MachineDetails): readonly Row[] {
  if (cgroup === null) return [];
  const of = (limit: string | null): string => (limit === null ? "" : ` of ${limit}`);
  const parts = [
    ...(memory === null
      ? []
      : [`memory ${formatBytes(memory)}${of(limits.memoryMax === null ? null : formatBytes(limits.memoryMax))}`]),
    ...(tasks === null ? [] : [`${tasks}${of(limits.tasksMax === null ? null : String(limits.tasksMax))} tasks`]),
    ...(cpuUsec === null ? [] : [`CPU ${ms(cpuUsec / 1000)}`]),
  ];
  return parts.length === 0 ? [] : [["Usage", parts.join(", ")]];
}

function idsText({ uidShift }: MachineDetails): string {
  return uidShift === null ? "the host's" : `0..65535 inside are ${uidShift}..${uidShift + 65535}`;
}

function bootText({ launch, init, ready }: Inspection["boot"]): string {
  const parts = [
    `launch ${ms(launch)}`,
    ...(init === null ? [] : [`init ${ms(init)}`]),
    ...(ready === null ? [] : [`ready ${ms(ready)}`]),
  ];
  const total = launch + (init ?? 0) + (ready ?? 0);
  return `${ready === null ? "" : `${ms(total)}: `}${parts.join(" + ")}`;
}

function ms(value: number): string {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
