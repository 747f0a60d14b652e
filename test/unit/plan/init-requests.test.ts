import { expect, test } from "vitest";
import type { InitKind } from "../../../src/plan/facts.ts";
import { initName, initRequests } from "../../../src/plan/init-requests.ts";
import type { PlanInput } from "../../../src/plan/input.ts";
import { goldenInput } from "../../golden/inputs.ts";

function booting(kind: InitKind, killSignal?: number): PlanInput {
  const { spec, machine, ...rest } = goldenInput("default");
  return {
    ...rest,
    spec: { ...spec, killSignal: { ...spec.killSignal, value: killSignal } },
    machine: { ...machine, tree: { ...machine.tree, init: { path: "/sbin/init", kind, machine: "x86-64" } } },
  };
}

const SIGRTMIN = 34;

test.each([
  ["systemd", { signal: SIGRTMIN + 3 }, { signal: 2 }],
  ["sysvinit", { command: ["/sbin/init", "0"] }, { command: ["/sbin/init", "6"] }],
  ["openrc", { signal: 15 }, { signal: 2 }],
  ["runit", { command: ["/sbin/init", "0"] }, { command: ["/sbin/init", "6"] }],
  ["busybox", { signal: 12 }, { signal: 15 }],
  ["other", { signal: 15 }, { signal: 2 }],
] as const)("%s is asked in its own way", (kind, poweroff, reboot) => {
  expect(initName(booting(kind))).toBe(kind);
  expect(initRequests(booting(kind))).toEqual({ poweroff, reboot });
});

test("KillSignal= says how a machine is asked to power off, and leaves the reboot alone", () => {
  expect(initRequests(booting("runit", 30))).toEqual({
    poweroff: { signal: 30 },
    reboot: { command: ["/sbin/init", "6"] },
  });
});

test("a command is no init, and the stub of ProcessTwo= one of its own", () => {
  expect(initName(goldenInput("command"))).toBeNull();
  expect(initRequests(goldenInput("command")).poweroff).toEqual({ signal: 15 });
  expect(initName(goldenInput("as-pid2"))).toBe("stub");
  expect(initRequests(goldenInput("as-pid2"))).toEqual({
    poweroff: { signal: SIGRTMIN + 3 },
    reboot: { signal: SIGRTMIN + 5 },
  });
});
