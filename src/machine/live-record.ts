import type { Launch } from "../exec/launch.ts";
import { processId } from "../host/process-id.ts";
import { cgroupPath, unitName } from "../plan/cgroup.ts";
import { initName, initRequests } from "../plan/init-requests.ts";
import { idRange, type PlanInput } from "../plan/input.ts";
import { rootKind } from "../spec/root-kind.ts";
import { hasBootEnd } from "../supervise/init-boot.ts";
import type { Notification } from "../supervise/notify.ts";
import type { Prepared } from "./prepare.ts";
import { type MachineRecord, writePlan, writeRecord } from "./record.ts";

/** The record of a machine that this process runs, as it changes. */
export class LiveRecord {
  readonly #directory: string;
  readonly #launch: Launch;
  readonly #say: (line: string) => void;
  #current: MachineRecord;
  #planned = false;

  /** Of a machine that has just been launched. */
  constructor(prepared: Prepared, input: PlanInput, launch: Launch, say: (line: string) => void) {
    this.#directory = input.places.record;
    this.#launch = launch;
    this.#say = say;
    this.#current = firstRecord(prepared, input, launch);
    this.update({});
  }

  get current(): MachineRecord {
    return this.#current;
  }

  /** News for other commands. A disk that is full costs them the news, never the machine its supervisor. */
  update(change: Partial<MachineRecord>): void {
    this.#current = { ...this.#current, ...change };
    try {
      if (!this.#planned) writePlan(this.#directory, this.#launch.plan); // first: who finds the record finds the plan
      this.#planned = true;
      writeRecord(this.#directory, this.#current);
    } catch (error) {
      this.#say(`the record of machine ${this.#current.name} is out of date: ${(error as Error).message}`);
    }
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

function firstRecord(prepared: Prepared, input: PlanInput, launch: Launch): MachineRecord {
  const { spec, host, machine } = input;
  const requests = initRequests(input);
  const init = initName(input);
  const ready = !spec.notifyReady.value && !hasBootEnd(init);
  return {
    version: 1,
    name: spec.name,
    state: ready ? "running" : "starting",
    ready,
    status: null,
    bootId: host.bootId,
    leader: processId(launch.leaderPid),
    keeper: processId(launch.keeperPid),
    supervisor: processId(process.pid),
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
    weaknesses: prepared.weaknesses.map(({ what }) => what),
    times: {
      began: launch.began,
      executed: launch.executed,
      executedMonotonic: launch.executedMonotonic,
      ready: ready ? launch.executed : null,
    },
  };
}
