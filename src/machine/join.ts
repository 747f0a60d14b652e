import { BerthError } from "../errors.ts";
import { KnownPrograms } from "../exec/known-programs.ts";
import { Launch } from "../exec/launch.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { findUser } from "../host/users.ts";
import { boundIn } from "../plan/bind-users.ts";
import { candidatesFor, LOGIN_SHELLS, loginEnvironment } from "../plan/execute.ts";
import type { UserFacts } from "../plan/facts.ts";
import { buildJoin } from "../plan/join.ts";
import type { LaunchPlan, WindowSize } from "../plan/step.ts";
import { ROOT, userFault } from "../plan/user.ts";
import { hasOwnEtc } from "../plan/volatile.ts";
import { isRoot } from "../spec/validate.ts";
import type { StageProcess } from "../stage/stage-process.ts";
import { closeQuietly } from "../sys/files.ts";
import { ARCH } from "../sys/libc.ts";
import { whenReadable } from "../sys/poll.ts";
import { pidfdSendSignal } from "../sys/processes.ts";
import { damagedPlan, joinTarget } from "./join-target.ts";
import type { MachineRecord } from "./record.ts";
import { openRunningTree } from "./running-tree.ts";

export interface JoinOptions {
  /** Empty: a login shell. */
  readonly argv: readonly string[];
  /** Who runs it, by name or number; undefined: root. */
  readonly user?: string | undefined;
  /** `NAME=VALUE`, on top of what a login has. */
  readonly environment?: readonly string[];
  /** Where it begins, which has to be there; undefined: the user's home, or `/`. */
  readonly directory?: string | undefined;
  /** TERM of a terminal of the machine's own that the command gets; undefined: `stdio:0` to `stdio:2` of `fds`. */
  readonly term: string | undefined;
  /** Of that terminal. */
  readonly size?: WindowSize | undefined;
  /** A stage that was spawned ahead, or is just being; the launch owns it, or where there can be none it ends by itself. */
  readonly spare?: Promise<StageProcess> | undefined;
  /** The launch owns and closes them, and where there can be none they are closed at once. */
  readonly fds: ReadonlyMap<string, number>;
}

/** For two machines with the same settings they are the same. */
const COMMANDS = new KnownPrograms(8);

/**
 * A launch, still to be run, of a command in a running machine: as its root, with all that holds for its init.
 * @throws BerthError when the machine is frozen, or its plan is missing or damaged
 */
export function joinMachine(machine: MachineRecord, options: JoinOptions, paths: Paths): Launch {
  try {
    const plan = planJoin(machine, options, paths);
    const loadFilter = (policy: Parameters<typeof filterFor>[0]): Buffer => filterFor(policy, paths.cache);
    const { fds, spare } = options;
    // Of what comes with an environment nothing is kept: that may be secret. Arguments anybody on the host may read while it runs.
    const programs = options.environment?.length ? undefined : COMMANDS;
    const known = { ...(programs && { programs }), ...(spare && { spare }) };
    return new Launch(plan, { stage: stagePath(ARCH), arch: ARCH, fds, loadFilter, ...known });
  } catch (error) {
    options.spare?.then((stage) => stage.discard()).catch(() => undefined);
    for (const fd of options.fds.values()) closeQuietly(fd);
    throw error;
  }
}

function planJoin(machine: MachineRecord, options: JoinOptions, paths: Paths): LaunchPlan {
  const { argv, user: userName, term, size, directory } = options;
  const target = joinTarget(machine, paths);
  const { plan } = target;
  const user = userIn(machine, plan, userName);
  try {
    return buildJoin(target, {
      argv,
      candidates: programs(argv, user),
      environment: lastOfEach([
        ...loginEnvironment(user),
        ...(term === undefined ? [] : [`TERM=${term}`]),
        ...(options.environment ?? []),
      ]),
      directory: directory ?? user?.home ?? (argv.length === 0 ? ROOT.home : "/"),
      directoryRequired: directory !== undefined,
      user,
      stdio: term === undefined ? "caller" : "terminal",
      ...(size === undefined ? {} : { size }),
    });
  } catch (error) {
    // It takes over steps of the start, and one is not there.
    throw damagedPlan(machine.name, error, paths);
  }
}

/** Of a variable that is set more than once the last value counts. */
function lastOfEach(environment: readonly string[]): readonly string[] {
  return [...new Map(environment.map((each) => [each.slice(0, each.indexOf("=")), each])).values()];
}

function programs([program]: readonly string[], user: UserFacts | null): readonly string[] {
  if (program !== undefined) return candidatesFor(program);
  return user === null ? LOGIN_SHELLS : [user.shell, ...LOGIN_SHELLS];
}

/** Null: root. @throws BerthError when the machine has no such user */
export function userIn(machine: MachineRecord, plan: LaunchPlan, name: string | undefined): UserFacts | null {
  return name === undefined || isRoot(name) ? null : (boundIn(plan, name) ?? userOf(machine, plan, name));
}

function userOf(machine: MachineRecord, plan: LaunchPlan, user: string): UserFacts {
  const { name, root } = machine;
  using tree = openRunningTree(machine, plan);
  const found = findUser(user, hasOwnEtc(plan) ? [] : tree.roots, tree.ownMount);
  const fault = userFault(user, found, root);
  if (fault !== undefined) throw new BerthError(`machine ${name}: ${fault.what}`, { hint: fault.hint });
  return found as UserFacts;
}

const SIGKILL = 9;

/** Exit status of a joined command, when it has ended: 128+N for a signal. */
export async function joinedStatus(launch: Launch): Promise<number> {
  const exit = await launch.exit();
  await launch.keeperEnd();
  if (exit === null) {
    // The keeper was killed. Nobody would hear of the command's end, which as a zombie of ours holds up the machine's.
    const command = launch.fds.get("leader");
    pidfdSendSignal(command, SIGKILL);
    await whenReadable(command);
    return 128 + SIGKILL;
  }
  return exit.reason === "exited" ? exit.status : 128 + exit.status;
}
