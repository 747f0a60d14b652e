import type { Launch } from "../exec/launch.ts";
import { ownProcessId, processId } from "../host/process-id.ts";
import { cgroupPath, unitName } from "../plan/cgroup.ts";
import { initName, initRequests } from "../plan/init-requests.ts";
import { idRange, machineId, type PlanInput } from "../plan/input.ts";
import { rootKind } from "../spec/root-kind.ts";
import { hasBootEnd } from "../supervise/init-boot.ts";
import type { Notification } from "../supervise/notify.ts";
import type { Prepared } from "./prepare.ts";
import { type MachineRecord, planText, writePlan, writeRecord } from "./record.ts";

export interface RecordListener {
  /** For the user, one line each: that the record can't be written. */
  readonly say: (line: string) => void;
  readonly onChange?: (record: MachineRecord, before: MachineRecord) => void;
}

export interface Supervision {
  /** By a daemon, and another may take it over. */
  readonly managed: boolean;
  /** Its init is waited for to say that it is ready. */
  readonly saysReady: boolean;
  readonly policy?: object;
}

/** The record of a machine that this process supervises, as it changes. */
export class LiveRecord {
  readonly #directory: string;
  readonly #listener: RecordListener;
  #current: MachineRecord;
  /** Still to be written: text. */
  #plan: string | null;

  /** Of a machine that another process has launched. */
  constructor(directory: string, current: MachineRecord, listener: RecordListener, plan: string | null = null) {
    this.#directory = directory;
    this.#listener = listener;
    this.#current = current;
    this.#plan = plan;
  }

  /** Of a machine that has just been launched. */
  static ofLaunch(
    prepared: Prepared,
    input: PlanInput,
    launch: Launch,
    how: Supervision,
    listener: RecordListener,
  ): LiveRecord {
    const first = firstRecord(prepared, input, launch, how);
    const record = new LiveRecord(input.places.record, first, listener, planText(launch));
    record.update({});
    return record;
  }

  get current(): MachineRecord {
    return this.#current;
  }

  /** News for other commands. A disk that is full costs them the news, never the machine its supervisor. */
  update(change: Partial<MachineRecord>): void {
    const before = this.#current;
    this.#current = { ...before, ...change };
    try {
      if (this.#plan !== null) writePlan(this.#directory, this.#plan); // first: who finds the record finds the plan
      this.#plan = null;
      writeRecord(this.#directory, this.#current);
    } catch (error) {
      this.#listener.say(`the record of machine ${this.#current.name} is out of date: ${(error as Error).message}`);
    }
    this.#listener.onChange?.(this.#current, before);
  }

  /** What its init says of itself. */
  notified({ ready, status, stopping }: Notification): void {
    this.update({
      ...(status === undefined ? {} : { status }),
      ...(stopping ? { state: "stopping" as const } : {}),
    });
    if (ready) this.isReady();
  }

  isReady(): void {
    const { state, times } = this.#current;
    if (times.ready !== null || state === "rebooting") return;
    this.update({
      ready: true,
      state: state === "starting" ? "running" : state,
      times: { ...times, ready: Date.now() },
    });
  }
}

function firstRecord(prepared: Prepared, input: PlanInput, launch: Launch, how: Supervision): MachineRecord {
  const { spec, host, machine } = input;
  const requests = initRequests(input);
  const init = initName(input);
  const ready = !how.saysReady && !hasBootEnd(init);
  return {
    version: 1,
    name: spec.name,
    state: ready ? "running" : "starting",
    ready,
    status: null,
    bootId: host.bootId,
    leader: processId(launch.leaderPid),
    keeper: processId(launch.keeperPid),
    supervisor: ownProcessId(),
    managed: how.managed,
    cgroup: cgroupPath(input),
    cgroupMount: host.cgroup.mount ?? "",
    unit: unitName(input),
    root: spec.root.value,
    layer: rootKind(spec) === "layer" ? input.places.layer : null,
    os: machine.tree.osRelease?.["ID"] ?? null,
    osVersion: machine.tree.osRelease?.["VERSION_ID"] ?? null,
    init,
    requests,
    killSignal: "signal" in requests.poweroff ? requests.poweroff.signal : null,
    uidShift: idRange(input)?.base ?? null,
    machineId: machineId(input),
    weaknesses: prepared.weaknesses.map(({ what }) => what),
    ...(how.policy && { policy: how.policy }),
    times: {
      began: launch.began,
      executed: launch.executed,
      executedMonotonic: launch.executedMonotonic,
      ready: ready ? launch.executed : null,
    },
  };
}
