import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { BerthError } from "../errors.ts";
import { Launch } from "../exec/launch.ts";
import { filterFor } from "../exec/seccomp-filter.ts";
import { parseMemberships } from "../host/cgroups.ts";
import { stagePath } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { candidatesFor, LOGIN_ENVIRONMENT } from "../plan/execute.ts";
import { buildJoin } from "../plan/join.ts";
import type { WindowSize } from "../plan/step.ts";
import { openNull } from "../sys/files.ts";
import { ARCH } from "../sys/libc.ts";
import { pipe } from "../sys/sockets.ts";
import { type MachineRecord, readPlan } from "./record.ts";

export interface JoinOptions {
  readonly argv: readonly string[];
  /** Programs to try instead of what PATH finds for argv[0]. */
  readonly candidates?: readonly string[] | undefined;
  /** TERM of a terminal of the machine's own that the command gets; undefined: `stdio:0` to `stdio:2` of `fds`. */
  readonly term: string | undefined;
  /** Of that terminal. */
  readonly size?: WindowSize | undefined;
  /** The launch owns and closes them. */
  readonly fds: ReadonlyMap<string, number>;
}

/** A launch, still to be run, of a command in a running machine: as its root, with all that holds for its init. */
export function joinMachine(machine: MachineRecord, options: JoinOptions, paths: Paths): Launch {
  const { pid, startTime } = machine.leader;
  const { term } = options;
  const plan = buildJoin(
    { machine: machine.name, pid, startTime, cgroup: leaderCgroup(machine), plan: readPlan(machine.name, paths) },
    {
      argv: options.argv,
      candidates: options.candidates ?? candidatesFor(options.argv[0] ?? ""),
      environment: [...LOGIN_ENVIRONMENT, ...(term === undefined ? [] : [`TERM=${term}`])],
      directory: "/",
      stdio: term === undefined ? "caller" : "terminal",
      ...(options.size === undefined ? {} : { size: options.size }),
    },
  );
  const load = (policy: Parameters<typeof filterFor>[0]): Buffer => filterFor(policy, paths.cache);
  return new Launch(plan, { stage: stagePath(ARCH), arch: ARCH, fds: options.fds, loadFilter: load });
}

/** A leaf, whatever the machine's init has made of payload/: processes can be put into leaves only. */
function leaderCgroup({ name, leader, cgroupMount }: MachineRecord): string {
  const memberships = parseMemberships(readFileSync(`/proc/${leader.pid}/cgroup`, "utf8"));
  const own = memberships.find(({ hierarchy }) => hierarchy === 0);
  if (own === undefined) throw new BerthError(`machine ${name} is in no cgroup of the unified hierarchy`);
  return join(cgroupMount, own.path);
}

/** Exit status of a joined command, when it has ended: 128+N for a signal. */
export async function joinedStatus(launch: Launch): Promise<number> {
  const exit = await launch.exit();
  await launch.keeperEnd();
  if (exit === null) return 128 + 9;
  return exit.reason === "exited" ? exit.status : 128 + exit.status;
}

/** What a command in a machine prints on stdout; undefined: it failed. */
export async function captureIn(
  machine: MachineRecord,
  argv: readonly string[],
  paths: Paths,
): Promise<string | undefined> {
  const [output, writeEnd] = pipe();
  const fds = new Map([
    ["stdio:0", openNull()],
    ["stdio:1", writeEnd],
    ["stdio:2", openNull()],
  ]);
  const launch = joinMachine(machine, { argv, term: undefined, fds }, paths);
  const socket = new Socket({ fd: output, readable: true, writable: false });
  try {
    await launch.run();
    const said = await text(socket);
    return (await joinedStatus(launch)) === 0 ? said : undefined;
  } catch (error) {
    if (error instanceof BerthError) return undefined; // no such program in there
    throw error;
  } finally {
    socket.destroy();
    launch.release();
  }
}
