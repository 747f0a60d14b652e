import type { Command } from "commander";
import type { Paths } from "../host/paths.ts";

/** What every verb gets besides its own arguments. */
export interface Context {
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted by ^C or SIGTERM: long work stops, undoes what it did and throws. */
  readonly signal: AbortSignal;
  /** stdout/stderr is a terminal and NO_COLOR is unset: colours, spinners and progress bars are welcome. */
  readonly fancy: boolean;
}

/**
 * A verb module (cli/verbs/<verb>.ts) exports `define`: it adds its command to the program and says what runs.
 * The action returns the exit status. Failures are thrown as BerthError; main prints them.
 */
export interface VerbModule {
  define(program: Command, run: Runner): void;
}

/** Wraps an action so that main learns its exit status: `.action(run(async (context, name: string) => ...))`. */
export type Runner = <A extends unknown[]>(
  action: (context: Context, ...args: A) => Promise<number>,
) => (...args: A) => Promise<void>;
