import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { captureIn } from "./capture.ts";
import { userIn } from "./join.ts";
import { type MachineRecord, readPlan } from "./record.ts";

export interface SessionRequest {
  /** A shell of a user who need not log in; a prompt that asks who it is. */
  readonly kind: "shell" | "login";
  /** Of a shell: by name or number; undefined: root. */
  readonly user?: string | undefined;
  /** Instead of the user's shell; empty: that. */
  readonly argv?: readonly string[];
  /** `NAME=VALUE`, on top of what a login has. */
  readonly environment?: readonly string[];
  /** Of a shell: not by somebody at a terminal, all of it may come at once. */
  readonly typed?: boolean;
}

/** What is joined to a machine, on a terminal of its own, for a session: see JoinOptions. */
export interface SessionCommand {
  readonly argv: readonly string[];
  readonly user: string | undefined;
  readonly environment: readonly string[];
  /**
   * Of one that is typed, and is the machine's systemd's: what comes on its terminal when there is somebody to read it. systemd-run makes a
   * terminal for it, and what is typed on that while its service is still set up has been lost on a busy host.
   */
  readonly begins?: Buffer;
}

/**
 * How a session is opened in a machine: through its systemd where it has one that is up and its bus, else by joining it
 * as `exec` does. @throws BerthError when there is no such user
 */
export async function sessionCommand(
  machine: MachineRecord,
  request: SessionRequest,
  paths: Paths,
): Promise<SessionCommand> {
  const { kind, user, argv = [], environment = [], typed = false } = request;
  // Said by us in a sentence: systemd's own answer is exit status 217.
  const { name = "root" } = userIn(machine, readPlan(machine.name, paths), user) ?? {};
  if (!(await canOpenSessions(machine, paths))) return { argv: kind === "login" ? ["login"] : argv, user, environment };
  const unit = kind === "login" ? LOGIN : shellUnit(name, argv, typed ? SAYS_BEGINS : "");
  const variables = environment.map((each) => `--setenv=${each}`);
  const begins = typed ? { begins: BEGINS } : {};
  return { argv: [...SYSTEMD_RUN, ...variables, ...unit], user: undefined, environment: PLAIN, ...begins };
}

/** As machined's own shells and getties: hung up when their terminal is. */
export const HUNG_UP = ["SendSIGHUP=yes", "IgnoreSIGPIPE=no", "KillMode=mixed"];
/** Of a session: by PAM, at home. */
export const LOGGED_IN = ["PAMName=login", "WorkingDirectory=-~"];

/** No title of systemd-run's own for the caller's window (systemd 257). */
const PLAIN = ["SYSTEMD_ADJUST_TERMINAL_TITLE=0"];
const SYSTEMD_RUN = [
  // Newer ones write their command line into the terminal's title, which the shell's own is better for.
  ...["env", "SYSTEMD_ADJUST_TERMINAL_TITLE=0"],
  ...["systemd-run", "--quiet", "--collect", "--pty"],
  ...HUNG_UP.map((property) => `--property=${property}`),
];
/** On its stdin, which is the terminal that systemd-run makes. */
const GETTY = 'exec agetty --noclear --keep-baud - 115200,38400,9600 "$TERM"';
const LOGIN = ["--description=Login", "--", ...unitWords(["sh", "-c", GETTY])];
/** The shell of user $1 that the machine's own databases name, whatever they are (nsswitch.conf(5)). */
const USERS_SHELL =
  'shell=$(getent passwd "$1" 2>/dev/null | { IFS=: read -r _ _ _ _ _ _ x; echo "$x"; })\n[ -n "$shell" ] || shell=/bin/sh\nexec "$shell" -l';

/** A control string that terminals pass over (ECMA-48, APC), and what prints it. */
const BEGINS = Buffer.from("\x1b_berth\x1b\\");
const SAYS_BEGINS = "printf '\\033_berth\\033\\\\'\n";

/** A command of a session's unit, or the user's shell. */
export function sessionWords(user: string, argv: readonly string[]): readonly string[] {
  return unitWords(argv.length > 0 ? argv : byShell(USERS_SHELL, user));
}

function byShell(script: string, ...words: readonly string[]): readonly string[] {
  return ["/bin/sh", "-c", script, "sh", ...words];
}

/** The manager puts variables of its own in place of $NAME. */
function unitWords(words: readonly string[]): readonly string[] {
  return words.map((word) => word.replaceAll("$", "$$$$"));
}

/** By a shell so that what can't be run has the exit status of that, 126 or 127: systemd-run's own is 1. `first`: what that does first. */
function shellUnit(user: string, argv: readonly string[], first: string): readonly string[] {
  const words = argv.length > 0 ? byShell(`${first}exec "$@"`, ...argv) : byShell(first + USERS_SHELL, user);
  return [
    `--description=Shell of ${user}`,
    `--uid=${user}`,
    ...LOGGED_IN.map((property) => `--property=${property}`),
    "--",
    ...unitWords(words),
  ];
}

const QUESTION = ["sh", "-c", "test -S /run/dbus/system_bus_socket && command -v systemd-run"];

async function canOpenSessions(machine: MachineRecord, paths: Paths): Promise<boolean> {
  if (machine.init !== "systemd" || machine.state !== "running") return false;
  try {
    return (await captureIn(machine, QUESTION, paths)) !== undefined;
  } catch (error) {
    // It does not answer, or can't be joined: then what comes says so better.
    if (error instanceof BerthError) return false;
    throw error;
  }
}
