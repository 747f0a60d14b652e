import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { BerthError } from "../errors.ts";
import { CommandOutput, type OutputOptions } from "./command-output.ts";
import { SYSTEM_PATH } from "./find-program.ts";

export interface CommandOptions extends OutputOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Aborting kills the command and all that it started. */
  readonly signal?: AbortSignal;
  /** Fds that it gets; by default nothing is read, and what is written comes by line. */
  readonly stdin?: number;
  readonly stdout?: number;
  /** The program is unshare(1) with --pid --fork: its child is the init of a pid namespace. */
  readonly pidNamespace?: boolean;
  /** Ends a program that has to clean up after itself, in place of killing it. */
  readonly onAbort?: (pid: number) => Disposable;
}

export interface CommandResult {
  readonly ok: boolean;
  /** Null: it was killed. */
  readonly code: number | null;
  /** `ended with status 1` or `was killed by SIGKILL`. */
  readonly status: string;
  /** The last lines of stdout and stderr together, safe to print. */
  readonly tail: readonly string[];
}

/**
 * Runs a program of the system, in a session of its own: ^C at the terminal reaches only us, and we decide. Should this
 * process die, the kernel kills the program (setpriv --pdeathsig). Resolves once it has ended and closed its output.
 * @throws the signal's reason if that was aborted
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { signal } = options;
  signal?.throwIfAborted();
  const output = new CommandOutput(options);
  const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], {
    cwd: options.cwd,
    env: { ...environment(), ...options.env },
    detached: true,
    stdio: [options.stdin ?? "ignore", options.stdout ?? "pipe", "pipe"],
  });
  let ending: Disposable | undefined;
  const kill = () => {
    if (options.onAbort === undefined || child.pid === undefined) killAll(child.pid, options.pidNamespace === true);
    else ending = options.onAbort(child.pid);
  };
  signal?.addEventListener("abort", kill, { once: true });
  try {
    output.read(child.stdout, child.stderr);
    const { code, name } = await new Promise<{ code: number | null; name: string | null }>((resolve, reject) => {
      child.once("error", (error) => {
        const hint = "setpriv is part of util-linux";
        reject(new BerthError(`cannot run ${program}: ${error.message}`, { hint, cause: error }));
      });
      child.once("close", (code, name) => resolve({ code, name }));
    });
    signal?.throwIfAborted();
    const status = code === null ? `was killed by ${name}` : `ended with status ${code}`;
    return { ok: code === 0, code, status, tail: output.tail };
  } finally {
    signal?.removeEventListener("abort", kill);
    ending?.[Symbol.dispose]();
  }
}

/**
 * The whole session; of a pid namespace only the init: its death ends everything in the namespace, and only then does
 * unshare, our child, see it dead. So the wait for unshare is a wait for all.
 */
function killAll(pid: number | undefined, pidNamespace: boolean): void {
  if (pid === undefined) return;
  const inits = pidNamespace ? childrenOf(pid) : [];
  for (const target of inits.length > 0 ? inits : [-pid, pid]) {
    try {
      process.kill(target, "SIGKILL");
    } catch {
      // ESRCH: it ended by itself meanwhile.
    }
  }
}

/** proc_pid_task(5); empty as well where the kernel has no such file. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Messages to parse are in English; nothing of the user's environment but the way to the network gets in. */
export function environment(): Readonly<Record<string, string>> {
  const passed = ["http_proxy", "https_proxy", "no_proxy", "TZ"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    PATH: SYSTEM_PATH,
    HOME: "/root",
    LC_ALL: "C.UTF-8",
    ...Object.fromEntries(passed),
  };
}
