import type { HostFacts } from "../../plan/facts.ts";
import type { Survey } from "../survey.ts";

/** One line of `berth doctor`. */
export interface Finding {
  /** What was looked at, two or three words, unique in a report. */
  readonly check: string;
  /**
   * failed: machines with default settings cannot run (well) here at all. warning: they run, and what is named
   * does not work or is weaker. unknown: this user may not see it, or nobody knows.
   */
  readonly state: "ok" | "warning" | "failed" | "unknown";
  /** What was found, and what it means for berth. */
  readonly detail: string;
  /** A command or an act that changes it. */
  readonly fix?: string;
}

/** One topic. No finding: it does not concern this host. */
export type Check = (facts: HostFacts, survey: Survey) => Finding | readonly Finding[];

const finder =
  (state: Finding["state"]) =>
  (check: string, detail: string, fix?: string): Finding =>
    fix === undefined ? { check, state, detail } : { check, state, detail, fix };

export const ok = finder("ok");
export const warning = finder("warning");
export const failed = finder("failed");
export const unknown = finder("unknown");

/** Sets a sysctl now and at each boot. */
export function setSysctl(name: string, value: number): string {
  const file = "/etc/sysctl.d/60-berth.conf";
  return `echo '${name} = ${value}' >> ${file} && sysctl -p ${file}`;
}

/** Package names where they differ: apt-get's first, then everybody else's. */
export function installPackage(survey: Survey, debian: string, others: string = debian): string {
  const { programs } = survey;
  if (programs["apt-get"] !== null) return `apt-get install ${debian}`;
  if (programs["dnf"] !== null) return `dnf install ${others}`;
  if (programs["zypper"] !== null) return `zypper install ${debian}`;
  if (programs["pacman"] !== null) return `pacman -S ${others}`;
  if (programs["apk"] !== null) return `apk add ${others}`;
  return `install ${others}`;
}
