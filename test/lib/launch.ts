/**
 * Machines for tests of the launch engine, without the command line: settings as text become a spec, an input, a plan
 * and a launch. Everything berth keeps for such a machine lies below one directory; only its cgroup is elsewhere.
 *
 *   const spec = specOf({ name: "m", root: tree, settings: "[Exec]\nEphemeral=yes\n", options: ["--bind=/srv"] });
 *   const machine = testMachine({ directory, root: tree, command: probe("ids") });   // { input, plan, paths }
 *   const launch = machine.launch({ fail: { step: 12, result: -5 } });
 *   await launch.run();                                       // throws LaunchError, or the machine runs
 *   const { record, output } = await ended(machine, launch);  // when it has ended by itself; released then
 *   await says(machine, "up");                                // its console has shown that
 *   consoleLog(machine)                                       // [{ time, data }] of both log files
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { OptionAssignment } from "../../src/config/setting.ts";
import { assignOption, COMMAND_OPTIONS, optionName } from "../../src/config/settings.ts";
import { parseUnitFile } from "../../src/config/unit-file.ts";
import { type ExitRecord, readExitRecord } from "../../src/exec/exit-record.ts";
import { Launch, type LaunchOptions } from "../../src/exec/launch.ts";
import { loadFilter } from "../../src/exec/seccomp-filter.ts";
import { findPaths, type Paths } from "../../src/host/paths.ts";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { placesOf } from "../../src/machine/places.ts";
import { readMachineFacts } from "../../src/machine/prepare.ts";
import { buildPlan } from "../../src/plan/build.ts";
import type { HostFacts } from "../../src/plan/facts.ts";
import type { PlanInput, PlanRequest } from "../../src/plan/input.ts";
import { checkPreconditions } from "../../src/plan/preconditions.ts";
import type { LaunchPlan } from "../../src/plan/step.ts";
import { buildSpec } from "../../src/spec/build-spec.ts";
import type { Credential, MachineSpec, SelinuxContexts, UnitPlacement } from "../../src/spec/machine-spec.ts";
import { type Problem, showProblem } from "../../src/spec/problem.ts";
import { DEFAULT, type Sourced } from "../../src/spec/source.ts";
import { TEST_CACHE } from "./trees.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

export interface Settings {
  readonly name: string;
  /** Absolute path of the tree. */
  readonly root: string;
  /** Text of a settings file, which is said to be `file`. */
  readonly settings?: string;
  readonly file?: string;
  /** As typed: `--bind=/srv`. */
  readonly options?: readonly string[];
  readonly command?: readonly string[];
  readonly boot?: boolean;
  readonly credentials?: readonly Sourced<Credential>[];
  readonly bindUserGroups?: readonly Sourced<string>[];
  readonly unit?: Partial<UnitPlacement>;
  readonly selinux?: Partial<SelinuxContexts>;
}

/** The settings have problems, all of which are in the message. */
export class RefusedSettings extends Error {}

/** @throws RefusedSettings if one of the problems is an error */
export function specOf({ name, root, settings = "", file = `${name}.nspawn`, ...more }: Settings): MachineSpec {
  const { spec, problems } = buildSpec({
    name,
    root: { value: root, source: DEFAULT },
    ...parseUnitFile(settings, file),
    options: (more.options ?? []).map(typedOption),
    command: more.command ?? [],
    boot: more.boot ?? false,
    credentials: more.credentials ?? [],
    bindUserGroups: more.bindUserGroups ?? [],
    unit: more.unit ?? {},
    selinux: more.selinux ?? {},
  });
  if (spec === undefined) throw new RefusedSettings(shown(problems));
  return spec;
}

export function typedOption(text: string): OptionAssignment {
  const [name = "", ...value] = text.split("=");
  const option = COMMAND_OPTIONS.find(({ form }) => optionName(form) === name);
  if (option === undefined) throw new Error(`no option ${name}`);
  return assignOption(option, value.length === 0 ? undefined : value.join("="));
}

export interface MachineOptions extends Partial<Settings> {
  readonly root: string;
  /** A temporary directory of the test, mode 0755; becomes the berth root. */
  readonly directory: string;
  readonly request?: Partial<PlanRequest>;
  readonly host?: Partial<HostFacts>;
}

export interface TestMachine {
  readonly input: PlanInput;
  readonly plan: LaunchPlan;
  readonly paths: Paths;
  launch(options?: Partial<LaunchOptions>): Launch;
}

/** A machine planned from the facts of this host, by default called `m` and in the background. */
export function testMachine({ directory, name = "m", request, host: facts, ...settings }: MachineOptions): TestMachine {
  const paths = findPaths({ BERTH_CACHE: TEST_CACHE }, REPOSITORY, directory);
  mkdirSync(paths.machines, { recursive: true });
  const spec = specOf({ name, ...settings });
  const host = { ...readHostFacts(), ...facts };
  const input: PlanInput = {
    spec,
    host,
    machine: readMachineFacts(spec, host, paths),
    places: {
      ...placesOf(name, settings.root, paths),
      ranges: join(directory, "ranges"),
      trees: join(directory, "trees"),
      layer: join(directory, `layer-${name}`),
    },
    request: { foreground: false, stdio: "console", term: null, ...request },
  };
  const problems = checkPreconditions(input);
  if (problems.length > 0) throw new Error(shown(problems));
  const plan = buildPlan(input);
  const credentials = new Map(spec.credentials.map(({ value }) => [value.id, Buffer.from("secret")]));
  return { input, plan, paths, launch: (options) => launchOf(plan, { credentials, ...options }) };
}

/** The stage is the one in src/: what dist/ holds may be older. */
export function launchOf(plan: LaunchPlan, options: Partial<LaunchOptions> = {}): Launch {
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  return new Launch(plan, {
    stage: stageOf(arch),
    arch,
    loadFilter: (policy) => loadFilter(policy, TEST_CACHE),
    ...options,
  });
}

export function stageOf(arch: "x64" | "arm64"): string {
  return join(REPOSITORY, "src", "stage", `stage-${arch}`);
}

/** Waits for the machine's own end and releases it. `output` is what its console log holds. */
export async function ended(
  machine: TestMachine,
  launch: Launch,
): Promise<{ record: ExitRecord | null; output: string }> {
  const exit = await launch.exit();
  await launch.keeperEnd();
  const record = readExitRecord(launch.fds.get("record"));
  if (record?.status !== exit?.status || record?.reason !== exit?.reason)
    throw new Error(`the keeper said ${JSON.stringify(exit)} and wrote ${JSON.stringify(record)}`);
  const output = consoleLog(machine)
    .map(({ data }) => data)
    .join("");
  launch.release();
  return { record, output };
}

/** Waits until the console of a machine says so: an init that has no handler yet ignores the signal to stop. */
export async function says(machine: TestMachine, text: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  const said = (): string => {
    try {
      return consoleLog(machine)
        .map(({ data }) => data)
        .join("");
    } catch {
      return ""; // a frame is half written
    }
  };
  while (!said().includes(text)) {
    if (performance.now() > deadline) throw new Error(`machine ${machine.plan.machine} did not say ${text}: ${said()}`);
    await sleep(5);
  }
}

export interface LogFrame {
  /** ns since the epoch. */
  readonly time: bigint;
  readonly data: string;
}

export function consoleLog({ input }: TestMachine): LogFrame[] {
  return ["console.log.1", "console.log"]
    .map((file) => join(input.places.record, file))
    .filter((path) => existsSync(path))
    .flatMap((path) => logFrames(readFileSync(path)));
}

/** Frames of a console log (stage.c: frame): u64 time, u32 length, u32 zero, the bytes. */
export function logFrames(bytes: Buffer): LogFrame[] {
  const frames: LogFrame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    if (length === 0 || bytes.readUInt32LE(at + 12) !== 0 || at + 16 + length > bytes.length)
      throw new Error(`no frame at ${at} of a console log of ${bytes.length} bytes`);
    frames.push({ time: bytes.readBigUInt64LE(at), data: bytes.toString("utf8", at + 16, at + 16 + length) });
    at += 16 + length;
  }
  return frames;
}

function shown(problems: readonly Problem[]): string {
  return problems.map(showProblem).join("\n");
}
