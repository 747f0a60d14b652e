import type { Command } from "commander";
import type { Paths } from "../host/paths.ts";

/** What every verb gets besides its own arguments. */
export interface Context {
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted by ^C or SIGTERM, for a verb that looks at it: long work stops, undoes what it did and throws. */
  readonly signal: AbortSignal;
  /** stdout and stderr are terminals and NO_COLOR is unset: colours, spinners and progress bars are welcome. */
  readonly fancy: boolean;
}

/**
 * A verb module (cli/verbs/<verb>.ts) exports `define`: it adds its command to the program and says what runs.
 * It is given the words that will be parsed where these are known; the manual asks without. The action returns the exit status. Failures are thrown as BerthError; main prints them.
 */
export interface VerbModule {
  define(program: Command, run: Runner, words?: readonly string[]): void;
  /** Rewrites the words before they are parsed, for what the parser cannot express. */
  prepare?(words: readonly string[]): readonly string[];
}

/** Wraps an action so that main learns its exit status: `.action(run(async (context, name: string) => ...))`. */
export type Runner = <A extends unknown[]>(
  action: (context: Context, ...args: A) => Promise<number>,
) => (...args: A) => Promise<void>;

/** The parser leaves the `--` that ends options among the words once it has seen the first of them. */
export function withoutDashes(words: readonly string[]): string[] {
  return words[0] === "--" ? words.slice(1) : [...words];
}

/** As `docker run` has it: what the payload exits with is left to the payload. */
export const FAILURE = 125;

export interface VerbEntry {
  readonly summary: string;
  /** Loaded only when it is called: a verb pays for what it needs and for nothing else. */
  readonly load: () => Promise<VerbModule>;
  /** What nobody else could do: said so, before something in it fails of it. */
  readonly rootOnly?: true;
  /** Exit status when berth itself fails, for a verb whose own is the payload's; default 1. */
  readonly failure?: number;
}
