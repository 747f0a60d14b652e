import type { HostFacts } from "../plan/facts.ts";
import { controllers, hierarchy } from "./checks/cgroups.ts";
import type { Check, Finding } from "./checks/finding.ts";
import { appArmor, kernel, seccomp, selinux } from "./checks/kernel.ts";
import { inotify, keys, openFiles, pids } from "./checks/limits.ts";
import { freshMounts, idRanges, namespaces, nestedNamespaces } from "./checks/namespaces.ts";
import { container, privileges } from "./checks/privileges.ts";
import { mmdebstrap, runtime, systemd } from "./checks/programs.ts";
import { cacheDirectory, idmappedMounts, machinesDirectory, overlay } from "./checks/storage.ts";
import type { Survey } from "./survey.ts";

export type { Finding } from "./checks/finding.ts";

/** In the order of the report: what explains other findings comes first. */
const CHECKS: readonly Check[] = [
  privileges,
  container,
  kernel,
  hierarchy,
  controllers,
  namespaces,
  nestedNamespaces,
  idRanges,
  freshMounts,
  seccomp,
  appArmor,
  selinux,
  idmappedMounts,
  overlay,
  machinesDirectory,
  cacheDirectory,
  openFiles,
  inotify,
  keys,
  pids,
  systemd,
  mmdebstrap,
  runtime,
];

/**
 * What works here and what does not. Pure. `extra` is what others found by trying (the launch engine: can a user
 * namespace be cloned, a tree be idmapped); a finding there replaces the guess of the same name.
 */
export function diagnose(facts: HostFacts, survey: Survey, extra: readonly Finding[] = []): readonly Finding[] {
  const proven = new Map(extra.map((finding) => [finding.check, finding]));
  const guessed = CHECKS.flatMap((check) => check(facts, survey));
  const names = new Set(guessed.map(({ check }) => check));
  return [
    ...guessed.map((finding) => proven.get(finding.check) ?? finding),
    ...extra.filter(({ check }) => !names.has(check)),
  ];
}

/** Machines with default settings cannot run here. */
export function isUnfit(findings: readonly Finding[]): boolean {
  return findings.some(({ state }) => state === "failed");
}
