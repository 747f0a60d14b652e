import { Assigned, fromOption } from "../config/assigned.ts";
import type { OptionAssignment } from "../config/setting.ts";
import { EXEC } from "../config/settings-exec.ts";
import { FILES } from "../config/settings-files.ts";
import { LIMITS } from "../config/settings-limits.ts";
import { MACHINE } from "../config/settings-machine.ts";
import { NETWORK } from "../config/settings-network.ts";
import type { Assignment } from "../config/unit-file.ts";
import { resolveBind } from "../config/values-files.ts";
import { resolveOverlay } from "../config/values-overlay.ts";
import type {
  ConsoleMode,
  Credential,
  EnvironmentVariable,
  MachineSpec,
  SelinuxContexts,
  UnitPlacement,
} from "./machine-spec.ts";
import { checkName } from "./name.ts";
import type { Problem } from "./problem.ts";
import { byDefault, DEFAULT, type Source, type Sourced } from "./source.ts";
import { validate } from "./validate.ts";

export interface SpecInput {
  readonly name: string;
  /** Absolute path of the tree. */
  readonly root: Sourced<string>;
  /** Of the settings file and its drop-ins, in that order. */
  readonly assignments: readonly Assignment[];
  /** Those of reading the files (parseUnitFile, restrictToSafe): they are shown with ours, an error leaves no spec. */
  readonly problems?: readonly Problem[];
  /** Of the command line, in the order given. */
  readonly options: readonly OptionAssignment[];
  /** --settings=override: of a setting with one value the files' holds. */
  readonly filesWin?: boolean;
  /** The words after the options. */
  readonly command: readonly string[];
  /** What Boot= is when nobody sets it: systemd.nspawn(5) says no, `systemd-nspawn@.service` and `berth start` yes. */
  readonly boot?: boolean;
  readonly console?: Sourced<ConsoleMode>;
  readonly credentials?: readonly Sourced<Credential>[];
  readonly bindUserGroups?: readonly Sourced<string>[];
  readonly unit?: Partial<UnitPlacement>;
  readonly selinux?: Partial<SelinuxContexts>;
  /** The tree is an image that `berth read-only` has marked. */
  readonly readOnlyImage?: boolean;
  /** Where the command was given: relative bind sources of options are resolved against it; default the root. */
  readonly directory?: string;
}

/**
 * Settings and options to a machine. All problems are found and returned in the order of files, lines and options; the
 * spec is there unless one of them is an error. Pure: nothing is looked up on the host.
 *
 * Options win over files for settings with one value and add to settings with many; as in nspawn, a command or a way
 * to start it (--boot) on the command line replaces the Parameters= of files.
 */
export function buildSpec(input: SpecInput): { spec: MachineSpec | undefined; problems: readonly Problem[] } {
  const problems: Problem[] = [...(input.problems ?? [])];
  const options = input.options.map(fromOption);
  const assignments = input.filesWin ? [...options, ...input.assignments] : [...input.assignments, ...options];
  const values = new Assigned(assignments, (problem) => problems.push(problem));

  const asSet: MachineSpec = {
    name: input.name,
    root: input.root,
    ...startMode(input, values),
    command: command(input, values),
    environment: environment(values),
    hostname: values.last(EXEC.Hostname) ?? byDefault(input.name),
    machineId: values.last(EXEC.MachineID) ?? byDefault(undefined),
    killSignal: values.last(EXEC.KillSignal) ?? byDefault(undefined),
    notifyReady: values.one(EXEC.NotifyReady),
    // In nspawn a drop is stronger than an addition and a denial than an allowance, wherever they were written.
    capabilities: [...values.all(EXEC.Capability), ...values.all(EXEC.DropCapability)],
    systemCallFilter: values.all(EXEC.SystemCallFilter).toSorted(denialsLast),
    ambientCapabilities: values.all(EXEC.AmbientCapability),
    user: values.one(EXEC.User),
    suppressSync: values.one(EXEC.SuppressSync),
    addressFamilies: values.all(EXEC.RestrictAddressFamilies),
    workingDirectory: values.last(EXEC.WorkingDirectory) ?? byDefault(undefined),
    noNewPrivileges: values.one(EXEC.NoNewPrivileges),
    personality: values.last(EXEC.Personality) ?? byDefault(undefined),
    oomScoreAdjust: values.one(EXEC.OOMScoreAdjust),
    cpuAffinity: values.all(EXEC.CPUAffinity),
    limits: Object.values(LIMITS).flatMap((setting) => values.last(setting) ?? []),
    privateUsers: values.one(EXEC.PrivateUsers),
    ownership: values.latest(FILES.PrivateUsersOwnership, FILES.PrivateUsersChown),
    privateNetwork: privateNetwork(values),
    networkNamespace: values.last(NETWORK.NamespacePath) ?? byDefault(undefined),
    ephemeral: values.one(EXEC.Ephemeral),
    readOnly: values.one(FILES.ReadOnly),
    volatile: values.one(FILES.Volatile),
    pivotRoot: values.last(EXEC.PivotRoot) ?? byDefault(undefined),
    resolvConf: values.one(EXEC.ResolvConf),
    timezone: values.one(EXEC.Timezone),
    binds: values
      .all(FILES.Bind, FILES.BindReadOnly)
      .map(({ value, source }) => ({ value: resolveBind(value, input.directory ?? "/"), source })),
    temporaryFileSystems: values.all(FILES.TemporaryFileSystem),
    overlays: values
      .all(FILES.Overlay, FILES.OverlayReadOnly)
      .map(({ value, source }) => ({ value: resolveOverlay(value, input.directory ?? "/"), source })),
    inaccessible: values.all(FILES.Inaccessible),
    bindUsers: values.all(FILES.BindUser),
    bindUserShell: values.one(FILES.BindUserShell),
    bindUserGroups: input.bindUserGroups ?? [],
    linkJournal: values.one(EXEC.LinkJournal),
    console: input.console ?? byDefault("auto"),
    credentials: input.credentials ?? [],
    keepUnit: byDefault(false),
    slice: byDefault("machine.slice"),
    unitProperties: [],
    ...input.unit,
    selinuxContext: byDefault(undefined),
    selinuxApifsContext: byDefault(undefined),
    ...input.selinux,
    restart: values.one(MACHINE.Restart),
    restartDelay: values.one(MACHINE.RestartSec),
    startBurst: values.one(MACHINE.StartLimitBurst),
    startInterval: values.one(MACHINE.StartLimitIntervalSec),
    startTimeout: values.one(MACHINE.TimeoutStartSec),
    stopTimeout: values.one(MACHINE.TimeoutStopSec),
  };
  const candidate = input.readOnlyImage === true ? withMark(asSet) : asSet;
  values.refuseNotYet();
  problems.push(...nameProblems(input.name), ...validate(candidate));

  const failed = problems.some((problem) => problem.severity === "error");
  return { spec: failed ? undefined : candidate, problems: inOrder(problems, assignments) };
}

/** As in systemd-nspawn the machine of a marked image changes nothing in it; one that keeps its changes elsewhere never does. */
function withMark(spec: MachineSpec): MachineSpec {
  if (spec.ephemeral.value || spec.volatile.value !== "no" || spec.readOnly.value) return spec;
  return { ...spec, readOnly: { value: true, source: { from: "option", option: "the image is marked read-only" } } };
}

/** Keys that say how a machine is started. */
const START_MODES: readonly string[] = ["Boot", "ProcessTwo"];

/** How to start is one question: an option that answers it replaces all that files say about it, as does `berth start`. */
function startMode(input: SpecInput, values: Assigned): Pick<MachineSpec, "boot" | "processTwo"> {
  const filesDecide = input.filesWin === true && input.assignments.some(({ key }) => START_MODES.includes(key));
  const isTyped = (key: string): boolean => !filesDecide && input.options.some((option) => option.key === key);
  const holds = (each: Sourced<boolean> | undefined): Sourced<boolean> | undefined =>
    filesDecide && each?.source.from === "option" ? undefined : each;
  const [bootTyped, processTwoTyped] = [isTyped("Boot"), isTyped("ProcessTwo")];
  const boot = holds(values.last(EXEC.Boot)) ?? byDefault(input.boot ?? false);
  const processTwo = holds(values.last(EXEC.ProcessTwo)) ?? byDefault(false);
  if (processTwoTyped && !bootTyped) return { boot: byDefault(false), processTwo };
  const otherwise = bootTyped || (input.boot === true && boot.source.from === "default");
  return otherwise && !processTwoTyped ? { boot, processTwo: byDefault(false) } : { boot, processTwo };
}

function command(input: SpecInput, values: Assigned): Sourced<readonly string[]> {
  const parameters = values.all(EXEC.Parameters);
  const typed: Source = { from: "option", option: "the command line" };
  const fromFiles = { value: parameters.flatMap((each) => each.value), source: parameters[0]?.source ?? DEFAULT };
  if (input.filesWin && parameters.length > 0) return fromFiles;
  if (input.command.length > 0) return { value: input.command, source: typed };
  if (input.options.some(({ key }) => START_MODES.includes(key))) return byDefault([]);
  return fromFiles;
}

/** In a network namespace that exists already it has none of its own, unless both are asked for: validate.ts. */
function privateNetwork(values: Assigned): Sourced<boolean> {
  const path = values.last(NETWORK.NamespacePath);
  if (path === undefined) return values.one(NETWORK.Private);
  return values.last(NETWORK.Private) ?? { value: false, source: path.source };
}

/** Of a variable set more than once the last value counts. */
function environment(values: Assigned): readonly Sourced<EnvironmentVariable>[] {
  const byName = new Map<string, Sourced<EnvironmentVariable>>();
  for (const { value, source } of values.all(EXEC.Environment))
    for (const variable of value) byName.set(variable.name, { value: variable, source });
  return [...byName.values()];
}

function denialsLast(a: MachineSpec["systemCallFilter"][number], b: typeof a): number {
  return Number(a.value.change === "deny") - Number(b.value.change === "deny");
}

function nameProblems(name: string): readonly Problem[] {
  const fault = checkName(name);
  if (fault === undefined) return [];
  const hint = fault.suggestion === undefined ? {} : { hint: `${fault.suggestion} would do` };
  return [{ severity: "error", source: DEFAULT, what: fault.what, ...hint }];
}

/** By place: files in the order read, their lines, then options, then what has no place. Stable. */
function inOrder(problems: readonly Problem[], assignments: readonly Assignment[]): readonly Problem[] {
  const files = new Map<string, number>();
  for (const { source } of assignments)
    if (source.from === "file" && !files.has(source.file)) files.set(source.file, files.size);
  const rank = ({ source }: Problem): readonly number[] => {
    if (source.from === "file") return [files.get(source.file) ?? files.size, source.line, source.column];
    return [files.size + (source.from === "option" ? 1 : 2), 0, 0];
  };
  return problems
    .map((problem) => ({ problem, key: rank(problem) }))
    .sort((a, b) => compare(a.key, b.key))
    .map(({ problem }) => problem);
}

function compare(a: readonly number[], b: readonly number[]): number {
  const index = a.findIndex((value, at) => value !== b[at]);
  return index === -1 ? 0 : (a[index] ?? 0) - (b[index] ?? 0);
}
