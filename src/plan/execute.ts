import { CREDENTIALS_DIRECTORY } from "./credentials.ts";
import type { UserFacts } from "./facts.ts";
import { dashed } from "./identity.ts";
import { machineId, type PlanInput } from "./input.ts";
import { init } from "./make-step.ts";
import { changeDirectory } from "./process.ts";
import type { Step } from "./step.ts";
import { loginVariables, payloadUser } from "./user.ts";

const PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Of a command: an init sets its own from locale.conf(5). As systemd-nspawn has it. */
const LANG = "C.UTF-8";

/** A user's own comes first. */
export const LOGIN_SHELLS: readonly string[] = ["/bin/bash", "/bin/sh"];

/** What a command finds that joins a machine, before anything else is set. */
export function loginEnvironment(user: UserFacts | null): readonly string[] {
  return [
    `PATH=${PATH.join(":")}`,
    ...loginVariables(user).map(([name, value]) => `${name}=${value}`),
    `LANG=${LANG}`,
    "container=berth",
  ];
}

export function executePayload(input: PlanInput): Step[] {
  const { spec } = input;
  const { candidates, argv } = payload(input);
  const kind = spec.boot.value ? input.machine.tree.init?.kind : undefined;
  const source = spec.boot.value ? spec.boot.source : spec.command.source;
  const directory = changeDirectory(input).length === 0 ? "/" : null;
  return [
    init(
      "execute",
      { candidates, argv, environment: environment(input), directory, ...(kind && { init: kind }) },
      source,
    ),
  ];
}

function payload({ spec, machine }: PlanInput): { candidates: string[]; argv: string[] } {
  const words = spec.command.value;
  if (spec.boot.value) {
    const path = machine.tree.init?.path ?? "/sbin/init";
    return { candidates: [path], argv: [path, ...words] };
  }
  const [program] = words;
  if (program === undefined) return { candidates: [...LOGIN_SHELLS], argv: [] };
  return { candidates: candidatesFor(program, searchPath(spec)), argv: [...words] };
}

/** What a shell would try, in the machine, for a program's name. */
export function candidatesFor(program: string, path: readonly string[] = PATH): string[] {
  return program.includes("/") ? [program] : path.map((directory) => `${directory}/${program}`);
}

const DIRECTORIES_MAX = 64;

/** That of Environment=, where there is one: images of registries have their programs in places of their own. */
function searchPath({ environment: variables }: PlanInput["spec"]): readonly string[] {
  const own = variables.findLast(({ value }) => value.name === "PATH")?.value.value.split(":") ?? [];
  const directories = own.filter((directory) => directory.startsWith("/")).slice(0, DIRECTORIES_MAX);
  return directories.length === 0 ? PATH : directories.map((directory) => directory.replace(/\/+$/, ""));
}

/** The Container Interface's variables, a login's for a plain command, and what the settings say on top. */
function environment(input: PlanInput): string[] {
  const { spec, host, request } = input;
  const variables = new Map<string, string>([
    ["PATH", PATH.join(":")],
    ["container", "berth"],
    ["container_uuid", dashed(machineId(input))],
    ["NOTIFY_SOCKET", "/run/host/notify"],
  ]);
  for (const field of ["ID", "BUILD_ID", "VARIANT_ID", "VERSION_ID"]) {
    const value = host.osRelease[field];
    if (value !== undefined) variables.set(`container_host_${field.toLowerCase()}`, value);
  }
  if (spec.credentials.length > 0) variables.set("CREDENTIALS_DIRECTORY", CREDENTIALS_DIRECTORY);
  if (request.term !== null) variables.set("TERM", request.term);
  if (!spec.boot.value) {
    for (const [name, value] of loginVariables(payloadUser(input))) variables.set(name, value);
    variables.set("LANG", LANG);
  }
  for (const { value } of spec.environment) variables.set(value.name, value.value);
  return [...variables].map(([name, value]) => `${name}=${value}`);
}
