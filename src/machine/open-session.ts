import { setTimeout as sleep } from "node:timers/promises";
import { BerthError, errorCode } from "../errors.ts";
import { type Launch, LaunchError } from "../exec/launch.ts";
import type { Paths } from "../host/paths.ts";
import { monotonic } from "../sys/clock.ts";
import { closeQuietly } from "../sys/files.ts";
import { hasSession, openOtherSide } from "../sys/terminal.ts";
import { runIn } from "./capture.ts";
import { type JoinOptions, joinedStatus, joinMachine, userIn } from "./join.ts";
import { openTerminal, type Terminal, takeTerminal, terminalOf } from "./open-terminal.ts";
import { type MachineRecord, readPlan } from "./record.ts";
import { HUNG_UP, LOGGED_IN, sessionWords } from "./session.ts";

export interface ShellRequest {
  /** Empty: root. */
  readonly user: string;
  /** Empty: the user's login shell; or of the program, with its own name first. */
  readonly argv: readonly string[];
  /** `NAME=VALUE`. */
  readonly environment: readonly string[];
}

/** For the machine's init to do it, PAM included; a call by the bus takes no longer than 25 s. */
const PATIENCE_MS = 20_000;

/** For what has been started to take the terminal; it may even have ended by then. */
const TAKING_MS = 1000;
const LOOK_MS = 2;

/**
 * A shell, or a program, on a terminal of the machine's own. Where systemd is its init that makes a session of it, with
 * PAM, as systemd-machined has it; else it is joined to the machine as `berth shell` does. It ends when the terminal is hung up.
 */
export async function openShell(machine: MachineRecord, request: ShellRequest, paths: Paths): Promise<Terminal> {
  // Said by us in a sentence: systemd's own answer is an exit status.
  userIn(machine, readPlan(machine.name, paths), request.user === "" ? undefined : request.user);
  if (machine.init === "systemd") {
    const terminal = await openTerminal(machine, paths);
    if (await asked(machine, terminal, shellUnit(terminal, request), paths)) return terminal;
  }
  const { user, argv, environment } = request;
  return joinWithTerminal(machine, { argv, environment, user: user === "" ? undefined : user }, paths);
}

/** A login prompt: systemd's getty, or login(1) where another init runs. */
export async function openLogin(machine: MachineRecord, paths: Paths): Promise<Terminal> {
  if (machine.init === "systemd") {
    const terminal = await openTerminal(machine, paths);
    const job = ["systemctl", "start", `container-getty@${terminal.number}.service`];
    if (await asked(machine, terminal, job, paths)) return terminal;
  }
  try {
    return await joinWithTerminal(machine, { argv: ["login"] }, paths);
  } catch (error) {
    const isMissing =
      error instanceof LaunchError && error.step?.kind === "execute" && errorCode(error.cause) === "ENOENT";
    if (!isMissing) throw error;
    throw new BerthError(`machine ${machine.name} has no login(1)`, {
      kind: "NotSupported",
      hint: "machinectl shell opens a shell without one",
      cause: error,
    });
  }
}

/** Whether the machine's init does it; what it is not told in time, or refuses, is done in the other way. */
async function asked(
  machine: MachineRecord,
  { fd }: Terminal,
  argv: readonly string[],
  paths: Paths,
): Promise<boolean> {
  // Whoever reads a terminal whose other side was opened and closed again takes it for hung up.
  const held = openOtherSide(fd);
  try {
    const answer = await runIn(machine, argv, paths, { time: PATIENCE_MS, stderr: true }).catch(() => undefined);
    if (answer?.status === 0) {
      await taken(fd);
      return true;
    }
  } finally {
    closeQuietly(held);
  }
  closeQuietly(fd);
  return false;
}

/** Resolves when somebody has the terminal: a moment after systemd says that what it started runs. */
async function taken(fd: number): Promise<void> {
  const deadline = monotonic() + TAKING_MS;
  while (!hasSession(fd) && monotonic() < deadline) await sleep(LOOK_MS);
}

/** As systemd-machined makes it, with the tools of the machine. */
function shellUnit({ number, path }: Terminal, { user, argv, environment }: ShellRequest): readonly string[] {
  const name = user === "" ? "root" : user;
  const properties = [
    ...["StandardInput=tty", "StandardOutput=tty", "StandardError=tty", `TTYPath=${path}`],
    ...HUNG_UP,
    ...LOGGED_IN,
    ...[`UtmpIdentifier=${number}`, "UtmpMode=user"],
  ];
  return [
    ...["systemd-run", "--quiet", "--collect", "--no-ask-password", "--service-type=idle"],
    ...[`--unit=container-shell@${number}`, `--description=Shell for user ${name}`, `--uid=${name}`],
    ...properties.map((property) => `--property=${property}`),
    ...environment.map((variable) => `--setenv=${variable}`),
    "--",
    ...sessionWords(name, argv),
  ];
}

async function joinWithTerminal(
  machine: MachineRecord,
  options: Pick<JoinOptions, "argv" | "user" | "environment">,
  paths: Paths,
): Promise<Terminal> {
  const launch = joinMachine(machine, { ...options, term: "xterm", fds: new Map() }, paths);
  await launch.run();
  const fd = takeTerminal(launch);
  void untilEnded(launch).catch(() => undefined);
  return terminalOf(fd, machine.name);
}

async function untilEnded(launch: Launch): Promise<void> {
  await joinedStatus(launch);
  launch.release();
}
