import { Command, CommanderError } from "commander";
import { BerthError, errorCode, firstError, isSystemError, UsageError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import { findPaths } from "../host/paths.ts";
import { quote } from "../spec/quote.ts";
import { abortSignal } from "./abort-signal.ts";
import { takeInertOptions } from "./inert-options.ts";
import { complain, INTERRUPTED, print } from "./output.ts";
import { withoutSecrets } from "./secrets.ts";
import { betterSaid } from "./usage-error.ts";
import type { Context, Runner, VerbEntry } from "./verb.ts";

/** Of the verb that was called. */
let failure = 1;

/** The verb of that name; or what is done for a word that is none, whose exit status it gives. */
export type Find = (verb: string, words: readonly string[]) => Omit<VerbEntry, "summary"> | Promise<number>;

export interface Program {
  readonly find: Find;
  /** Puts the verb before options that stand before it. */
  readonly verbFirst: (words: readonly string[]) => Promise<readonly string[]>;
}

async function main(argv: readonly string[], { find, verbFirst }: Program): Promise<number> {
  refuseForeignBytes(argv);
  const typed = splitGlobalOptions(argv);
  const { root, rest } = /^-/.test(typed.rest[0] ?? "") ? splitGlobalOptions(await verbFirst(argv)) : typed;
  const [verb = "help", ...words] = rest[0] === "help" && rest[1] !== undefined ? [rest[1], "--help"] : rest;
  const entry = find(verb, words);
  if (entry instanceof Promise) return entry;
  failure = entry.failure ?? 1;
  let status = 0;
  const context: Context = {
    paths: findPaths(process.env, INSTALLATION, root),
    env: process.env,
    get signal() {
      return abortSignal();
    },
    get fancy() {
      return process.stderr.isTTY && process.stdout.isTTY && !process.env["NO_COLOR"];
    },
  };
  const run: Runner =
    (action) =>
    async (...args) => {
      if (entry.rootOnly === true && process.geteuid?.() !== 0)
        throw new BerthError(`berth ${verb} is for root only`, { hint: "run this as root", kind: "AccessDenied" });
      status = await action(context, ...args);
    };
  const program = new Command("berth").exitOverride().enablePositionalOptions();
  const module = await entry.load();
  const given = module.prepare?.(words) ?? words;
  module.define(program, run, given);
  for (const command of program.commands) {
    takeInertOptions(command);
    command
      .exitOverride((error) => {
        throw betterSaid(error, command);
      })
      .configureOutput({ writeOut: print, writeErr: () => undefined });
  }
  await program.parseAsync([program.commands[0]?.name() ?? verb, ...given], { from: "user" });
  return status;
}

/** Node has put U+FFFD where it could not decode a byte: what is left is another name, or another path, than was meant. */
function refuseForeignBytes(argv: readonly string[]): void {
  const index = argv.findIndex((word) => word.includes("\uFFFD"));
  if (index >= 0)
    throw new UsageError(`argument ${index + 1}, ${quote(withoutSecrets(argv)[index] ?? "")}, is not UTF-8`);
}

/** --root=DIR may stand before the verb. */
function splitGlobalOptions(argv: readonly string[]): { root: string | undefined; rest: readonly string[] } {
  const [first, second] = argv;
  if (first?.startsWith("--root=")) return { root: first.slice("--root=".length), rest: argv.slice(1) };
  if (first === "--root") {
    if (second === undefined) throw new UsageError("--root needs a directory");
    return { root: second, rest: argv.slice(2) };
  }
  return { root: undefined, rest: argv };
}

/** One line for what failed and one for what to do about it; never a stack trace of an error made for users. */
function report(thrown: unknown): number {
  const error = firstError(thrown);
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help
    const [, message = "", hint] = /^(?:error: )?(.*?)(?:\n\((.*)\))?$/s.exec(error.message) ?? [];
    complain(message, hint);
    return 2;
  }
  if (error instanceof BerthError) {
    complain(error.message, error.hint);
    return error.exitStatus === 1 ? failure : error.exitStatus;
  }
  if (error instanceof Error && error.name === "AbortError") return INTERRUPTED;
  if (errorCode(error) === "EPIPE") return 0;
  if (isSystemError(error)) {
    complain(error.message);
    return failure;
  }
  complain(`internal error: ${describe(error)}`);
  return failure;
}

/** Where in berth it happened is for who works on berth. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return process.env["BERTH_DEBUG"] ? (error.stack ?? error.message) : error.message;
}

/** Runs berth with the command line of this process, and ends it. */
export function start(program: Program): void {
  // What is thrown in an event's callback, a closed stdout among it, ends berth like any other failure.
  process.on("uncaughtException", (error) => {
    // Said last: a terminal that was made raw has been put back by then.
    process.on("exit", () => {
      process.exitCode = report(error);
    });
    process.exit();
  });
  // Not awaited at the top level: the bundle is CommonJS, which starts faster and has no such thing.
  void main(process.argv.slice(2), program)
    .catch(report)
    .then((status) => {
      process.exitCode = status;
      // At once: Node, left alone, takes its heap apart first, for 2 ms.
      process.exit();
    });
}
