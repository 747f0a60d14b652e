import { constants, open } from "node:fs";
import { posix } from "node:path";
import { promisify } from "node:util";
import { DBusError } from "../bus/dbus-error.ts";
import type { MethodCall } from "../bus/method-call.ts";
import { isAlive } from "../host/process-id.ts";
import { openLogin, openShell } from "../machine/open-session.ts";
import { openTerminal, type Terminal } from "../machine/open-terminal.ts";
import type { MachineRecord } from "../machine/record.ts";
import { closeQuietly, O_DIRECTORY } from "../sys/files.ts";
import { allow, invalid, notSupported, requireEnvironment } from "./access.ts";
import type { BusMachine } from "./bus-machine.ts";
import { MACHINE1 } from "./places.ts";
import type { Services } from "./services.ts";

/** Our side of a terminal, which is the caller's from here on, and the other's name. */
type Answer = readonly [fd: number, path: string];

export async function openPty(call: MethodCall, machine: BusMachine, { paths }: Services): Promise<Answer> {
  await allow(call, machine.class === "host" ? "host-open-pty" : "open-pty", { machine: machine.name });
  return answer(await openTerminal(requireRecord(machine), paths));
}

export async function openLoginOn(call: MethodCall, machine: BusMachine, { paths }: Services): Promise<Answer> {
  const action = machine.class === "host" ? "host-login" : "login";
  await allow(call, action, { machine: machine.name, verb: "login" });
  return answer(await openLogin(requireRecord(machine), paths));
}

export interface ShellArguments {
  readonly user: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly environment: readonly string[];
}

export async function openShellOn(
  call: MethodCall,
  machine: BusMachine,
  { user, path, args, environment }: ShellArguments,
  { paths }: Services,
): Promise<Answer> {
  const argv = commandOf(path, args);
  requireEnvironment(environment);
  const action = machine.class === "host" ? "host-shell" : "shell";
  const program = argv.length === 0 ? "shell" : argv.join(" ");
  await allow(call, action, { machine: machine.name, user: user === "" ? "root" : user, program });
  return answer(await openShell(requireRecord(machine), { user, argv, environment }, paths));
}

/** Empty: the user's shell. */
function commandOf(path: string, args: readonly string[]): readonly string[] {
  if (path === "") {
    if (args.length > 0) throw invalid("Arguments need a path.");
    return [];
  }
  if (!posix.isAbsolute(path)) throw invalid(`Specified path '${path}' is not absolute`);
  return [path, ...args.slice(1)];
}

const openFile = promisify(open);
const DIRECTORY = constants.O_RDONLY | O_DIRECTORY;

/** In another thread: what it has there may be a file system of its own making, that answers late or never. */
export async function openRootDirectory({ class: what, leader, record, name }: BusMachine): Promise<number> {
  if (what === "host") return openFile("/", DIRECTORY);
  const fd = await openFile(`/proc/${leader}/root`, DIRECTORY).catch(() => undefined);
  if (fd !== undefined && record !== null && isAlive(record.leader)) return fd;
  if (fd !== undefined) closeQuietly(fd);
  throw new DBusError(`${MACHINE1}.NoSuchMachine`, `Machine ${name} has just ended.`);
}

function requireRecord({ class: what, record, name }: BusMachine): MachineRecord {
  if (record !== null) return record;
  throw notSupported(
    what === "host" ? "A session of the host is its own affair: log in there." : `Nothing is known of machine ${name}.`,
  );
}

function answer({ fd, path }: Terminal): Answer {
  return [fd, path];
}
