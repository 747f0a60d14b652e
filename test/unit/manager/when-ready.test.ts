import { describe, expect, test } from "vitest";
import type { BerthError } from "../../../src/errors.ts";
import { Change } from "../../../src/manager/change.ts";
import { killWhenLate, type Starting, whenReady } from "../../../src/manager/when-ready.ts";

/** A machine that somebody starts, as whenReady() sees it. */
class Machine {
  readonly name = "m";
  readonly tail = ["last words"];
  readonly #change = new Change();
  record: Starting["record"];
  alive = true;
  restarts = 0;
  failure: Starting["failure"] = null;
  verdict: BerthError | undefined;
  #end = Promise.withResolvers<void>();
  readonly ended = this.#end.promise;

  async until(isTrue: () => boolean, signal: AbortSignal): Promise<void> {
    while (!isTrue()) await this.#change.next(signal);
  }

  /** `says`: its init is one that says when it is ready, at this time. */
  boots(says: number | null = 1): void {
    const times = { began: 0, executed: 1, executedMonotonic: 1, ready: says };
    this.record = { ready: says !== null, status: null, times };
    this.#change.fire();
  }

  dies(): void {
    this.record = undefined;
    this.restarts++;
    this.#change.fire();
  }

  fails(reason: string): void {
    this.dies();
    this.alive = false;
    this.failure = { reason, hint: null, console: [], time: 0 };
    this.#end.resolve();
    this.#change.fire();
  }

  async terminate(verdict?: BerthError): Promise<void> {
    this.verdict = verdict;
    this.fails("killed");
  }
}

const start = (machine: Machine, timeout: number | null = null): Promise<void> => {
  const caller = { say: () => undefined, onStatus: () => undefined, signal: new AbortController().signal, timeout };
  return whenReady(machine, caller, timeout);
};
const isOver = (work: Promise<void>, ms: number): Promise<boolean> =>
  Promise.race([work.then(() => true), new Promise<boolean>((done) => setTimeout(done, ms, false))]);

describe("a machine is ready", () => {
  test("when its init says so", async () => {
    const machine = new Machine();
    const started = start(machine);
    machine.boots(null);
    expect(await isOver(started, 10)).toBe(false);
    machine.boots(2);
    await started;
  });

  test("not by running, when it ends at once and is to be started again", async () => {
    const machine = new Machine();
    const started = start(machine);
    machine.boots();
    await new Promise((done) => setTimeout(done, 5));
    machine.dies();
    expect(await isOver(started, 100)).toBe(false);
    machine.boots();
    expect(await isOver(started, 1000)).toBe(true);
  });

  test("by running, though it reboots at once: that is its own affair", async () => {
    const machine = new Machine();
    const started = start(machine);
    machine.boots();
    await new Promise((done) => setTimeout(done, 5));
    machine.record = undefined;
    expect(await isOver(started, 1000)).toBe(true);
  });

  test("never, when it has failed after all its restarts", async () => {
    const machine = new Machine();
    const started = start(machine);
    machine.boots();
    machine.dies();
    machine.fails("too often");
    await expect(started).rejects.toThrow("machine m: too often\nberth: console: last words");
  });

  test("within its time, or is killed; without one it may take any", async () => {
    const machine = new Machine();
    await expect(start(machine, 20)).rejects.toThrow("machine m was not ready within 0.02 s");
    expect(machine.verdict?.message).toBe("was not ready within 0.02 s");
    const patient = new Machine();
    const started = start(patient, null);
    expect(await isOver(started, 50)).toBe(false);
    patient.boots(2);
    await started;
  });
});

describe("a boot that nobody has asked for", () => {
  test.each([
    ["is killed when it is late", false, 10, { kind: "not ready", seconds: 0.01 }],
    ["goes on when it is ready", true, 10, undefined],
    ["goes on without a limit", false, null, undefined],
  ])("%s", async (_, ready, timeout, expected) => {
    let kills = 0;
    const limit = killWhenLate({ current: { ready }, kill: () => kills++ }, timeout);
    await new Promise((done) => setTimeout(done, 40));
    expect(limit.over()).toEqual(expected);
    expect(kills).toBe(expected === undefined ? 0 : 1);
  });

  test("is not killed any more when it has ended", async () => {
    let kills = 0;
    const limit = killWhenLate({ current: { ready: false }, kill: () => kills++ }, 20);
    expect(limit.over()).toBeUndefined();
    await new Promise((done) => setTimeout(done, 40));
    expect(kills).toBe(0);
  });
});
