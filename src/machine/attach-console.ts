import { join } from "node:path";
import type { Paths } from "../host/paths.ts";
import type { ProcessCaller } from "../supervise/caller.ts";
import { ConsoleLink } from "../supervise/console.ts";
import { LogOutput } from "../supervise/log-output.ts";
import { closeQuietly, openNull } from "../sys/files.ts";
import { type ConsoleWriter, consoleMaster, takeConsole } from "./console-master.ts";
import { recordsDirectory } from "./places.ts";
import type { MachineRecord } from "./record.ts";

export interface AttachOptions {
  readonly readOnly: boolean;
  readonly caller: ProcessCaller;
  /** Lets go of it. */
  readonly signal: AbortSignal;
  /** For the user, one line each. */
  readonly say: (line: string) => void;
}

/** Bytes of what the console said before: a prompt that waits, at least. */
const SHOWN = 2048;

/**
 * Connects the caller to the console of a running machine: what it shows by the keeper's log, what is typed by its master, which
 * one at a time may do. Resolves when the boot is over ("ended") or the caller has left it.
 */
export async function attachConsole(
  machine: MachineRecord,
  options: AttachOptions,
  paths: Paths,
): Promise<"ended" | "left"> {
  const directory = join(recordsDirectory(paths), machine.name);
  const writer = options.readOnly ? undefined : takeWriter(machine, directory, options.say);
  try {
    return await connect(machine, directory, writer !== undefined, options);
  } finally {
    writer?.close();
    options.caller.close();
  }
}

function takeWriter(machine: MachineRecord, directory: string, say: AttachOptions["say"]): ConsoleWriter | undefined {
  const taken = takeConsole(directory);
  if (typeof taken !== "number") return taken;
  say(
    `${taken === 0 ? "somebody" : `process ${taken}`} types on the console of machine ${machine.name}: here it is shown only`,
  );
  return undefined;
}

async function connect(
  machine: MachineRecord,
  directory: string,
  input: boolean,
  { caller, signal }: AttachOptions,
): Promise<"ended" | "left"> {
  const master = (input ? consoleMaster(machine) : null) ?? openNull();
  const left = Promise.withResolvers<"left">();
  const leave = (): void => left.resolve("left");
  const output = new LogOutput(directory, SHOWN);
  const link = new ConsoleLink({ caller, output, input, onEscape: leave, onLost: leave });
  signal.addEventListener("abort", leave, { once: true });
  try {
    link.connect(master);
    return await Promise.race([link.drained().then(() => "ended" as const), left.promise]);
  } finally {
    link.close();
    signal.removeEventListener("abort", leave);
    closeQuietly(master);
  }
}
