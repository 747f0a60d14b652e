import { constants } from "node:os";
import { isatty } from "node:tty";
import { BerthError } from "../errors.ts";
import type { Paths } from "../host/paths.ts";
import { DaemonClient } from "./daemon-client.ts";

export interface DaemonExec {
  readonly argv: readonly string[];
  readonly user: string | undefined;
  readonly directory: string | undefined;
  readonly environment: readonly string[];
}

const PASSED_ON = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/**
 * Runs a command in a machine by the daemon, which takes stdin, stdout and stderr from this process as they are: nothing
 * is copied. Resolves to its exit status; undefined: not in this way, since no daemon runs or one of the three is a
 * terminal, which no machine gets.
 */
export async function execByDaemon(
  name: string,
  exec: DaemonExec,
  paths: Paths,
  abort?: AbortSignal,
): Promise<number | undefined> {
  if ([0, 1, 2].some((fd) => isatty(fd))) return undefined;
  const client = await DaemonClient.connect(paths).catch(() => null);
  if (client === null) return undefined;
  const passOn = (signal: NodeJS.Signals): void => client.signal(constants.signals[signal]);
  for (const signal of PASSED_ON) process.on(signal, passOn);
  const given = Promise.withResolvers<never>();
  const giveUp = (): void => given.reject(abort?.reason);
  abort?.addEventListener("abort", giveUp);
  const { argv, user = null, directory = null, environment } = exec;
  let begun = false;
  const onEvent = (): void => {
    begun = true;
  };
  try {
    const called = client.call("exec", { name, argv, user, directory, environment, stdio: "own" }, { onEvent });
    return (await Promise.race([called, given.promise])).status;
  } catch (error) {
    if (!begun && error instanceof BerthError && error.kind === "NotSupported") return undefined;
    throw error;
  } finally {
    client.close(); // the daemon hangs up what runs
    abort?.removeEventListener("abort", giveUp);
    for (const signal of PASSED_ON) process.off(signal, passOn);
  }
}
