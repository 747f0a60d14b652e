import { isatty } from "node:tty";
import type { Paths } from "../host/paths.ts";
import type { StartEvent } from "../manager/protocol.ts";
import { checkName } from "../spec/name.ts";
import { visible } from "../spec/quote.ts";
import { abortSignal } from "./abort-signal.ts";
import { DaemonClient } from "./daemon-client.ts";
import { allAtOnce } from "./each-machine.ts";
import { INTERRUPTED, say } from "./output.ts";
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
  const signal = abortSignal();
  return follow(names, client, false, (name, onEvent) =>
    client.call("start", { name, timeout: null }, { signal, onEvent }),
  );
}

/** Goes on with what src/plain-client/start-client.c has begun, whose words these are. Of the names no two are the same. */
export async function goOn(words: readonly string[], paths: Paths): Promise<number> {
  const [connection, booting, signalled, runs = "", ...names] = words;
  const asked = names.slice(0, runs.length);
  // Before berthd is told that it is here.
  const signal = abortSignal(Number(signalled));
  const client = DaemonClient.takeOver(Number(connection), asked.length, paths);
  const status = await follow(asked, client, booting === "1", async (name, onEvent) => {
    const index = asked.indexOf(name);
    return runs[index] === "1" ? null : client.answer<"start">(index + 1, { signal, onEvent });
  });
  return asked.length < names.length ? INTERRUPTED : status;
}

type Answer = (name: string, onEvent: (event: StartEvent) => void) => Promise<null>;

/** To the end of all of them. `booting`: that has been said. */
async function follow(
  names: readonly string[],
  client: DaemonClient,
  booting: boolean,
  answerOf: Answer,
): Promise<number> {
  const progress = startProgress({ write: say }, { fancy: false, title: titleOf(names), env: process.env });
  const said: string[] = [];
  const onEvent = (event: StartEvent): void => {
    if ("said" in event) said.push(event.said);
    else if (!booting) progress.update({ label: "booting", fraction: null });
  };
  try {
    return await allAtOnce(names, async (name) => {
      await answerOf(name, onEvent);
    });
  } finally {
    client.close();
    for (const line of said) say(`berth: ${visible(line)}\n`);
  }
}

export function titleOf(names: readonly string[]): string {
  return names.length === 1 ? (names[0] ?? "") : `${names.length} machines`;
}
