import { Command, CommanderError } from "commander";
import { COPIER_VERB } from "../copy/protocol.ts";
import { BerthError, errorCode, firstError, isSystemError, UsageError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import { findPaths } from "../host/paths.ts";
import { FOLLOWER_VERB } from "../image/follow/protocol.ts";
import { suggest } from "../spec/nearest.ts";
import { quote } from "../spec/quote.ts";
import { abortSignal } from "./abort-signal.ts";
import { complain, INTERRUPTED, print } from "./output.ts";
import { withoutSecrets } from "./secrets.ts";
import { betterSaid } from "./usage-error.ts";
import type { Context, Runner } from "./verb.ts";
import { VERBS, verbGroups } from "./verbs.ts";

/** Of the verb that was called. */
let failure = 1;

async function main(argv: readonly string[]): Promise<number> {
  refuseForeignBytes(argv);
  const { root, rest } = splitGlobalOptions(argv);
  const [verb, ...words] = rest[0] === "help" && rest[1] !== undefined ? [rest[1], "--help"] : rest;
  if (verb === undefined || verb === "help" || verb === "--help" || verb === "-h") {
    print(overview());
    return 0;
  }
  if (verb === COPIER_VERB) return (await import("../copy/copier.ts")).runCopier();
  if (verb === FOLLOWER_VERB) return (await import("../image/follow/process.ts")).runFollower();
  if (verb === "complete" && words[0] === "--") return completeWords(words.slice(1));
  const entry = VERBS[OTHER_WORDS[verb] ?? verb];
  if (entry === undefined) {
    const near = suggest(verb, Object.keys(VERBS));
    throw new UsageError(`${verb}: no such verb`, near ?? "berth help lists them");
  }
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
  for (const command of program.commands)
    command
      .exitOverride((error) => {
        throw betterSaid(error, command);
      })
      .configureOutput({ writeOut: print, writeErr: () => undefined });
  await program.parseAsync([program.commands[0]?.name() ?? verb, ...given], { from: "user" });
  return status;
}

/** Second names of verbs. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  "--version": "version",
  stop: "poweroff",
  images: "list-images",
  remotes: "remote",
};

/** What a shell's completion script asks (completion-scripts.ts). */
async function completeWords(words: readonly string[]): Promise<number> {
  const { complete } = await import("./complete.ts");
  const { candidates, also } = await complete(words, process.env);
  print([also ?? "-", ...candidates.map(({ word, help }) => `${word}\t${help}`), ""].join("\n"));
  return 0;
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

function overview(): string {
  const groups = verbGroups().map(([title, names]) => {
    const rows = names.map((name) => `  ${name.padEnd(16)}${VERBS[name]?.summary}\n`);
    return `${title}:\n${rows.join("")}`;
  });
  return `berth [--root DIR] VERB ...\n\n${groups.join("\n")}\nberth help VERB, or berth VERB --help, says more of each.\n`;
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

// What is thrown in an event's callback, a closed stdout among it, ends berth like any other failure.
process.on("uncaughtException", (error) => {
  // Said last: a terminal that was made raw has been put back by then.
  process.on("exit", () => {
    process.exitCode = report(error);
  });
  process.exit();
});

// Not awaited at the top level: the bundle is CommonJS, which starts faster and has no such thing.
void main(process.argv.slice(2))
  .catch(report)
  .then((status) => {
    process.exitCode = status;
    // At once: Node, left alone, takes its heap apart first, for 2 ms.
    process.exit();
  });
