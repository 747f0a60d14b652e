import { isatty } from "node:tty";
import type { Paths } from "../host/paths.ts";
import type { StartEvent } from "../manager/protocol.ts";
import { checkName } from "../spec/name.ts";
import { visible } from "../spec/quote.ts";
import { abortSignal } from "./abort-signal.ts";
import { DaemonClient } from "./daemon-client.ts";
import { allAtOnce } from "./each-machine.ts";
import { say } from "./output.ts";
import { startProgress } from "./progress.ts";

/**
 * `berth start NAME...` without options, by a daemon that runs, for nobody who looks: for a script. Resolves to the exit
 * status; undefined: not in this way, and nothing has been done.
 */
export async function startPlainly(names: readonly string[], paths: Paths): Promise<number | undefined> {
  if (names.length === 0 || names.some((name) => checkName(name) !== undefined)) return undefined;
  if (process.geteuid?.() !== 0 || [1, 2].some((fd) => isatty(fd))) return undefined;
  const client = await DaemonClient.connect(paths).catch(() => null);
  if (client === null) return undefined;
  const title = titleOf(names);
  const progress = startProgress({ write: say }, { fancy: false, title, env: process.env });
  const said: string[] = [];
  const onEvent = (event: StartEvent): void => {
    if ("said" in event) said.push(event.said);
    else progress.update({ label: "booting", fraction: null });
  };
  const signal = abortSignal();
  try {
    return await allAtOnce(names, async (name) => {
      await client.call("start", { name, timeout: null }, { signal, onEvent });
    });
  } finally {
    client.close();
    for (const line of said) say(`berth: ${visible(line)}\n`);
  }
}

export function titleOf(names: readonly string[]): string {
  return names.length === 1 ? (names[0] ?? "") : `${names.length} machines`;
}
