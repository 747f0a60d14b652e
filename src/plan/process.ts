import type { Personality } from "../spec/machine-spec.ts";
import { DEFAULT } from "../spec/source.ts";
import type { PlanInput } from "./input.ts";
import { init } from "./make-step.ts";
import { possibleMask } from "./security.ts";
import type { Step } from "./step.ts";
import { payloadUser, ROOT } from "./user.ts";

/** What Personality= can be on a host, and how many bits it shows; preconditions.ts refuses the others. */
export const PERSONALITY_BITS: Readonly<Record<"x64" | "arm64", Readonly<Partial<Record<Personality, 32 | 64>>>>> = {
  x64: { x86: 32, "x86-64": 64 },
  arm64: { arm: 32, arm64: 64 },
};

export function choosePersonality({ spec, host }: PlanInput): Step[] {
  const { value, source } = spec.personality;
  const bits = value === undefined ? undefined : PERSONALITY_BITS[host.arch][value];
  return bits === undefined ? [] : [init("set-personality", { bits }, source)];
}

/** Before the payload has a terminal or is another user. */
export function stayAsInit(input: PlanInput): Step[] {
  const { value, source } = input.spec.processTwo;
  return value
    ? [init("stay-as-init", { capabilities: possibleMask(input, ["CAP_KILL", "CAP_SYS_BOOT"]) }, source)]
    : [];
}

/** All CPUs of all CPUAffinity= lines. */
export function chooseProcessors({ spec }: PlanInput): Step[] {
  if (spec.cpuAffinity.length === 0) return [];
  const cpus = [...new Set(spec.cpuAffinity.flatMap(({ value }) => value))].sort((a, b) => a - b);
  return [init("set-affinity", { cpus }, spec.cpuAffinity.at(-1)?.source ?? DEFAULT)];
}

/** A user's shell begins at home, as a login does; there may be no such directory. */
export function changeDirectory(input: PlanInput): Step[] {
  const { value: path, source } = input.spec.workingDirectory;
  if (path !== undefined) return [init("change-directory", { path, required: true }, source)];
  const { boot, command, user } = input.spec;
  if (boot.value || command.value.length > 0) return [];
  const { home } = payloadUser(input) ?? ROOT;
  return [init("change-directory", { path: home, required: false }, user.source)];
}
