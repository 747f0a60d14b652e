import type { SeccompPolicy } from "../plan/seccomp-policy.ts";
import type { StageProcess } from "../stage/stage-process.ts";
import type { AlikePrograms } from "./alike-programs.ts";
import type { KnownPrograms } from "./known-programs.ts";
import type { OnRelease } from "./running.ts";

export interface LaunchOptions {
  /** The stage's executable for this architecture. */
  readonly stage: string;
  readonly arch: "x64" | "arm64";
  /** BPF for a seccomp policy, from the cache or compiled. */
  readonly loadFilter: (policy: SeccompPolicy) => Buffer;
  /** More fds for the stage, by the names the plan uses (`stdio:0`, `mirror`); launch owns and closes them. */
  readonly fds?: ReadonlyMap<string, number>;
  /** What is secret and in no plan: the machine's credentials by id. They stay the caller's, for its next boot. */
  readonly credentials?: ReadonlyMap<string, Buffer>;
  /** A stage that was spawned ahead, or is just being; launch owns it. */
  readonly spare?: StageProcess | Promise<StageProcess>;
  /** For the user, one line each: what a step takes long for. */
  readonly say?: (line: string) => void;
  /** For who has others to see to: waited for before the launch goes on, when it has waited or worked for some ms. */
  readonly turn?: () => Promise<void>;
  /** Where programs are known that were compiled before. */
  readonly programs?: KnownPrograms;
  /** Those of the machines that are launched at the same time. */
  readonly alike?: AlikePrograms;
  /** Whether others are launched at the same time. */
  readonly among?: () => boolean;
  readonly onRelease?: OnRelease;
  /** When the start was asked for, ms of CLOCK_MONOTONIC, if that was before the launch is made. */
  readonly asked?: number;
  /** Tests: the step with this index fails with this result (a negative errno). */
  readonly fail?: { readonly step: number; readonly result: number };
}
