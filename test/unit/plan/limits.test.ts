import { describe, expect, test } from "vitest";
import type { PlanInput } from "../../../src/plan/input.ts";
import { raisedLimits } from "../../../src/plan/limits.ts";
import { goldenInput } from "../../golden/inputs.ts";

const input = goldenInput("default");
/** All of the golden host's but CAP_SYS_RESOURCE, 24. */
const WITHOUT = (BigInt(`0x${input.host.capabilities}`) & ~(1n << 24n)).toString(16);

function limits(host: Partial<PlanInput["host"]>): unknown {
  return { limits: raisedLimits({ ...input, host: { ...input.host, ...host } }) };
}

describe("processes and pending signals", () => {
  const hardLimits = { ...input.host.hardLimits, nproc: 50, sigpending: null };
  const both = (nproc: number | null, sigpending: number | null) => ({
    limits: [
      { name: "nproc", soft: nproc, hard: nproc },
      { name: "sigpending", soft: sigpending, hard: sigpending },
    ],
  });

  test.each([
    ["half of the kernel's threads, whatever the caller may have", { hardLimits }, both(63432, 63432)],
    ["the caller's without CAP_SYS_RESOURCE", { hardLimits, capabilities: WITHOUT }, both(50, 63432)],
    [
      "the caller's where the kernel does not say",
      { hardLimits, sysctls: { ...input.host.sysctls, threadsMax: null } },
      both(50, null),
    ],
  ])("are %s", (_, host, expected) => {
    expect(limits(host)).toEqual(expected);
  });
});
