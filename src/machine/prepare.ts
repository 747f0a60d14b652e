import { existsSync, readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import type { OptionAssignment } from "../config/setting.ts";
import { BerthError, EXIT_FAILED, EXIT_USAGE } from "../errors.ts";
import { readBindUsers } from "../host/bind-users.ts";
import { readCredentialFacts } from "../host/credentials.ts";
import { readImage } from "../host/damaged.ts";
import { isExposed } from "../host/exposure.ts";
import { hostFiles, sysctl } from "../host/host-files.ts";
import type { TreeRoot } from "../host/in-root.ts";
import { readJournalFacts } from "../host/journal.ts";
import { readMountFacts } from "../host/mount-facts.ts";
import { openImage } from "../host/open-image.ts";
import { type OpenTree, openTree } from "../host/open-tree.ts";
import type { Paths } from "../host/paths.ts";
import { isLost } from "../host/pending-tree.ts";
import { pickRange } from "../host/ranges.ts";
import { readHostFacts } from "../host/read-facts.ts";
import { type FoundSettings, readSettings, type SettingsMode } from "../host/settings-files.ts";
import { isStackMarked, usrRoots } from "../host/stack.ts";
import { readFileSystem, readPlace, readTreeFacts } from "../host/tree-facts.ts";
import { isDisk, kindOfTree, nameOfTree, treeOf } from "../host/tree-place.ts";
import { assumeUser } from "../host/users.ts";
import { readUsrFacts } from "../host/usr-facts.ts";
import { buildPlan } from "../plan/build.ts";
import { resolvConfFile, resolvConfMode } from "../plan/configure-tree.ts";
import type { HostFacts, MachineFacts } from "../plan/facts.ts";
import { diskBase } from "../plan/id-blocks.ts";
import { knownMachineId, type PlanInput, type PlanRequest } from "../plan/input.ts";
import { JOURNALS } from "../plan/journal.ts";
import { checkPreconditions } from "../plan/preconditions.ts";
import type { LaunchPlan } from "../plan/step.ts";
import { buildSpec } from "../spec/build-spec.ts";
import type { ConsoleMode, Credential, MachineSpec, SelinuxContexts, UnitPlacement } from "../spec/machine-spec.ts";
import { checkName } from "../spec/name.ts";
import { pathInTree, rootInTree } from "../spec/pivot.ts";
import { type Problem, showProblem } from "../spec/problem.ts";
import { visible } from "../spec/quote.ts";
import { rootKind } from "../spec/root-kind.ts";
import { DEFAULT, type Sourced } from "../spec/source.ts";
import { isRoot } from "../spec/validate.ts";
import { type Weakness, weaknesses } from "../spec/weaknesses.ts";
import { isSubvolume, readSubvolume } from "../sys/btrfs.ts";
import { isImmutable } from "../sys/file-flags.ts";
import { randomId } from "../sys/random.ts";
import { placesOf } from "./places.ts";
import { isHeld } from "./record.ts";
import { throwAwayName } from "./throw-away.ts";

/** What the command line asks for. */
export interface MachineRequest {
  /** -M; default: named after the tree. */
  readonly name: string | undefined;
  /** -D; default: what has that name in the machines directory. */
  readonly directory: string | undefined;
  /** -i: a disk image. */
  readonly image?: string | undefined;
  readonly options: readonly OptionAssignment[];
  /** The machine whose settings it gets; default: its own. */
  readonly settingsOf?: string;
  readonly command: readonly string[];
  /** What Boot= is when nobody says. */
  readonly boot: boolean;
  readonly console: Sourced<ConsoleMode> | undefined;
  readonly credentials?: readonly Sourced<Credential>[];
  readonly bindUserGroups?: readonly Sourced<string>[];
  readonly unit?: Partial<UnitPlacement>;
  readonly selinux?: Partial<SelinuxContexts>;
  /** Default: yes. */
  readonly settings?: SettingsMode;
  /** Found in the command line itself. */
  readonly warnings?: readonly Problem[];
}

export interface Prepared {
  readonly spec: MachineSpec;
  readonly host: HostFacts;
  readonly settings: FoundSettings;
  /** Warnings; errors are thrown. */
  readonly warnings: readonly Problem[];
  readonly weaknesses: readonly Weakness[];
  /** Facts are read anew for each start (a reboot may find another tree), so the plan is made on demand. */
  plan(request: PlanRequest, had?: KeptFacts): Promise<Planned>;
}

export interface Planned {
  readonly plan: LaunchPlan;
  readonly input: PlanInput;
}

/** What is picked anew for each start, as an earlier one had it: for a plan that is to be compared with that. */
export type KeptFacts = Partial<Pick<MachineFacts, "rangeBase" | "randomId">>;

/**
 * Settings and options to a machine that can be planned. `readHost`: for who has the host's facts already.
 * @throws BerthError with all problems at once
 */
export function prepare(
  request: MachineRequest,
  paths: Paths,
  installation: string,
  readHost: () => HostFacts = readHostFacts,
): Prepared {
  const root = findRoot(request, paths);
  const ephemeral = request.options.some(({ key, value }) => key === "Ephemeral" && value === "yes");
  const tree = request.name ?? (root.value === "/" ? hostname() : nameOfTree(root.value));
  // Several throw-away copies of one tree may run at once, also beside the machine itself.
  const isBeside = ephemeral && (request.name === undefined || (isFromStore(request) && runs(request.name, paths)));
  const name = isBeside ? throwAwayName(tree) : tree;
  const settings = readSettings(request.settingsOf ?? tree, paths, installation, request.settings);
  const { spec, problems } = buildSpec({
    name,
    root,
    assignments: settings.assignments,
    problems: [...settings.problems, ...(request.warnings ?? [])],
    options: request.options,
    filesWin: request.settings === "override",
    command: request.command,
    boot: request.boot,
    readOnlyImage: isFromStore(request) && isMarked(root.value),
    directory: process.cwd(),
    ...(request.console === undefined ? {} : { console: request.console }),
    credentials: request.credentials ?? [],
    bindUserGroups: request.bindUserGroups ?? [],
    unit: request.unit ?? {},
    selinux: request.selinux ?? {},
  });
  if (spec === undefined) throw refuse(problems, wasTyped);
  const host = readHost();
  return {
    spec,
    host,
    settings,
    warnings: problems,
    weaknesses: weaknesses(
      spec,
      // Nobody comes to the files in a disk image but by a mount of it.
      !isDisk(spec.root.value) && isExposed(spec.root.value, () => readFileSync("/proc/self/mountinfo", "utf8")),
      spec.privateUsers.value.mode === "yes" ? ownersFrom(spec, host) : 0,
    ),
    plan: async (planRequest, had) => {
      using opened = await openImage(spec.root.value);
      const facts = readImage(spec.root.value, opened, () => readMachineFacts(spec, host, paths, opened));
      const machine = had === undefined ? facts : { ...facts, ...had };
      const input = { spec, host, machine, places: placesOf(spec.name, spec.root.value, paths), request: planRequest };
      const blockers = checkPreconditions(input);
      if (blockers.length > 0) throw refuse(blockers);
      return { plan: buildPlan(input), input };
    },
  };
}

function findRoot(request: MachineRequest, paths: Paths): Sourced<string> {
  const { directory, image, name } = request;
  if (image !== undefined) return fromOption("image", requireDisk(image));
  if (directory !== undefined) return fromOption("directory", requireDirectory(directory));
  if (name !== undefined) return { value: requireWhole(treeOf(paths.machines, name)), source: DEFAULT };
  return { value: process.cwd(), source: DEFAULT };
}

function requireWhole(tree: string): string {
  if (!isLost(tree)) return tree;
  throw new BerthError(`the tree ${tree} is not whole: the host went down before all of it was on the disk`, {
    hint: "berth clean removes it; make the image again",
  });
}

/** Who may not know takes it that it does not. */
function runs(name: string, paths: Paths): boolean {
  return checkName(name) === undefined && process.geteuid?.() === 0 && isHeld(name, paths);
}

/** What is marked there as read-only is so for its machine. */
function isFromStore({ directory, image, name }: MachineRequest): boolean {
  return directory === undefined && image === undefined && name !== undefined;
}

function fromOption(option: string, path: string): Sourced<string> {
  return { value: resolve(path), source: { from: "option", option: `--${option}=${path}` } };
}

function requireDisk(path: string): string {
  if (isDisk(path)) return path;
  const is = existsSync(path) ? "neither a file nor a block device" : "no such disk image";
  throw new BerthError(`${visible(path)}: ${is}`, {
    hint: existsSync(path) ? "-D takes a directory" : undefined,
  });
}

function requireDirectory(path: string): string {
  if (!isDisk(path)) return path;
  throw new BerthError(`${visible(resolve(path))}: not a directory`, { hint: "-i takes a disk image" });
}

const WRITABLE = 0o222;

/** What can't be looked at is told of where it is used. */
function isMarked(tree: string): boolean {
  try {
    const kind = kindOfTree(tree);
    if (kind === "stack") return isStackMarked(tree);
    if (kind === "disk") return (statSync(tree).mode & WRITABLE) === 0;
    return isImmutable(tree) || (isSubvolume(tree) && readSubvolume(tree).readOnly);
  } catch {
    return false;
  }
}

/** Everything about the tree and the sources that the planner needs to know. */
export function readMachineFacts(
  spec: MachineSpec,
  host: HostFacts,
  paths: Paths,
  opened: OpenTree = openTree(spec.root.value),
): MachineFacts {
  const root = rootOf(spec, opened);
  const tree = { ...readTreeFacts(root, host), ...opened.fileSystem() };
  const places = placesOf(spec.name, spec.root.value, paths);
  const random = randomId();
  const mode = resolvConfMode(spec, host, tree.readOnly);
  const file = resolvConfFile(mode);
  return {
    tree,
    storage: opened.storage,
    ...readMountFacts(spec, opened.path, tree, places.temporary),
    journal:
      spec.linkJournal.value === "no"
        ? null
        : readJournalFacts(knownMachineId(spec, tree) ?? random, opened.path, pathInTree(spec, JOURNALS), places),
    rangeBase: spec.privateUsers.value.mode === "pick" ? pickRange(spec.name, paths.machines, diskBase(tree)) : null,
    resolvConf: file === null ? null : readIfThere(file),
    localtime: ["copy", "bind"].includes(spec.timezone.value) ? readIfThere("/etc/localtime") : null,
    user: isRoot(spec.user.value) ? null : assumeUser(spec.user.value, rootKind(spec) === "memory" ? [] : [root]),
    layer: rootKind(spec) === "layer" ? readFileSystem(dirname(spec.root.value)) : null,
    openFilesMax: spec.limits.some(({ value }) => value.name === "nofile") ? sysctl(hostFiles, "fs/nr_open") : null,
    bindUsers: readBindUsers(
      spec.bindUsers.map(({ value }) => value),
      root,
      spec.bindUserGroups.map(({ value }) => value),
    ),
    usr: rootKind(spec) === "memory" ? { ...readUsrFacts(root), ...usrOf(opened) } : null,
    resolvConfPlace: mode.startsWith("bind-") ? readPlace(root, "/etc/resolv.conf") : null,
    randomId: random,
    credentialSources: readCredentialFacts(spec.credentials.map(({ value }) => value)),
  };
}

/** What the machine has as its root. */
function rootOf(spec: MachineSpec, { path }: OpenTree): TreeRoot {
  return spec.pivotRoot.value === undefined ? path : { tree: path, inside: rootInTree(spec) };
}

function usrOf({ storage, roots }: OpenTree): { readonly roots?: readonly string[] } {
  return storage.kind === "stack" ? { roots: usrRoots(roots) } : {};
}

/** First id of the tree's owners on disk. */
function ownersFrom(spec: MachineSpec, host: HostFacts): number {
  // That of an image is known only when it is mounted: for that there has to be a start, or a plan of one.
  if (kindOfTree(spec.root.value) === "disk") return 0;
  using opened = openTree(spec.root.value);
  return diskBase(readTreeFacts(rootOf(spec, opened), host)) ?? 0;
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path).toString("base64");
  } catch {
    return null;
  }
}

/** @param isUsage of an error: the command line is wrong, whatever the host is like */
function refuse(problems: readonly Problem[], isUsage: (problem: Problem) => boolean = () => false): BerthError {
  const errors = problems.filter(({ severity }) => severity === "error");
  const exitStatus = errors.some(isUsage) ? EXIT_USAGE : EXIT_FAILED;
  const [first, ...others] = errors;
  if (first === undefined || others.length > 0)
    return new BerthError(errors.map(showProblem).join("\nberth: "), { exitStatus });
  const { hint, ...only } = first;
  return new BerthError(showProblem(only), { hint, exitStatus });
}

function wasTyped({ source }: Problem): boolean {
  return source.from === "option";
}
