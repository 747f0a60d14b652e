import type { Problem } from "../spec/problem.ts";
import { quote } from "../spec/quote.ts";
import { type PlanInput, rootId } from "./input.ts";
import { host, keeper } from "./make-step.ts";
import type { Step } from "./step.ts";

/** Of the Container Interface, as systemd-nspawn has it. */
export const CREDENTIALS_DIRECTORY = "/run/host/credentials";

/** Of all together, in bytes; more is not what a unit of systemd may have either (systemd.exec(5), LoadCredential=). */
export const CREDENTIALS_MAX = 1 << 20;

/**
 * On a ramfs: such pages are never written to swap. The host fills it, since the keeper works from its program, which is
 * bytes in a file.
 */
export function makeCredentials(input: PlanInput): Step[] {
  const { credentials } = input.spec;
  const [first] = credentials;
  if (first === undefined) return [];
  const ids = credentials.map(({ value }) => value.id);
  return [
    host("make-credentials", { fd: "credentials", owner: rootId(input), ids, size: totalSize(input) }, first.source),
  ];
}

export function attachCredentials({ spec }: PlanInput): Step[] {
  const [first] = spec.credentials;
  if (first === undefined) return [];
  const args = {
    fd: "credentials",
    target: CREDENTIALS_DIRECTORY,
    create: "directory",
    api: true,
    remove: false,
  } as const;
  return [keeper("attach", args, first.source)];
}

function totalSize({ spec, machine }: PlanInput): number | null {
  let total = 0;
  for (const { value } of spec.credentials) {
    const { from } = value;
    const facts = from.kind === "path" ? machine.credentialSources[from.path] : undefined;
    if (from.kind === "path" && facts?.type !== "file") return null;
    total += from.kind === "value" ? from.size : facts?.type === "file" ? facts.size : 0;
  }
  return total;
}

export function credentialsExist(input: PlanInput): readonly Problem[] {
  const missing = input.spec.credentials.flatMap(({ value: { id, from }, source }): Problem[] => {
    const facts = from.kind === "path" ? input.machine.credentialSources[from.path] : undefined;
    if (from.kind !== "path" || facts?.type !== "missing") return [];
    const what = `credential ${quote(id)} can't be read from ${from.path}: ${facts.errno}`;
    return [{ severity: "error", source, what, expected: "a file, a directory or a socket to read from" }];
  });
  const size = totalSize(input);
  const [first] = input.spec.credentials;
  if (first === undefined || size === null || size <= CREDENTIALS_MAX) return missing;
  const what = `the credentials have ${size} bytes together`;
  return [...missing, { severity: "error", source: first.source, what, expected: `at most ${CREDENTIALS_MAX}` }];
}
