import type { Command } from "commander";
import { BerthError, UsageError } from "../../errors.ts";
import type { DaemonStatus, TransferView } from "../../manager/protocol.ts";
import { printable, visible } from "../../spec/quote.ts";
import { DaemonClient } from "../daemon-client.ts";
import { startDaemon } from "../daemon-start.ts";
import { print, printJson, say } from "../output.ts";
import { timeoutOrNull } from "../seconds.ts";
import type { Context, Runner } from "../verb.ts";

export function define(program: Command, run: Runner): void {
  program
    .command("daemon")
    .summary("start, stop or show berthd")
    .description(
      "Controls berthd, which manages the machines of this root: start (in the background; where systemd runs the host " +
        "that is for berthd.service), stop (machines go on, with --machines they are powered off first; what it downloads is broken off, which it says), status.",
    )
    .argument("<start|stop|status>", "what to do")
    .option("--machines", "of stop: power the machines off first")
    .option(
      "--timeout <SECONDS>",
      "of stop --machines: how long each may take to end; by default TimeoutStopSec= of its settings",
    )
    .option("--json", "of status: print as JSON")
    .action(run(daemon));
}

interface Options {
  readonly machines?: boolean;
  readonly timeout?: string;
  readonly json?: boolean;
}

async function daemon(context: Context, what: string, options: Options): Promise<number> {
  switch (what) {
    case "start":
      return start(context);
    case "stop":
      return stop(context, options);
    case "status":
      return status(context, options);
    default:
      throw new UsageError(`${printable(what)}: berth daemon can start, stop and show status`);
  }
}

function requireRoot(what: string): void {
  if (process.geteuid?.() === 0) return;
  throw new BerthError(`berth daemon ${what} is for root only`, { hint: "run this as root", kind: "AccessDenied" });
}

async function start({ paths, env }: Context): Promise<number> {
  const running = await DaemonClient.connect(paths);
  if (running === null) {
    requireRoot("start");
    const { pid, client } = await startDaemon(paths, env);
    await client.call("status", {}); // answered when it is on the bus, which may be what it is started for
    client.close();
    say(pid === null ? "berth: berthd runs already\n" : `berth: started berthd, pid ${pid}\n`);
  } else {
    const { pid } = await running.call("status", {});
    running.close();
    say(`berth: berthd runs already, pid ${pid}\n`);
  }
  return 0;
}

async function stop({ paths }: Context, { machines = false, timeout }: Options): Promise<number> {
  const ms = timeoutOrNull(timeout);
  requireRoot("stop");
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    say(`berth: berthd does not run for ${paths.run}\n`);
    return 0;
  }
  // A berthd of another version, as after an update, says nothing of them.
  const broken = (await client.call("quit", { machines, timeout: ms })) ?? [];
  await client.gone();
  for (const transfer of broken) say(brokenOff(transfer));
  return 0;
}

/** Of a download what came is in the cache, unless that is too little to be worth it. */
function brokenOff({ type, local, remote, progress }: TransferView): string {
  const what = `${type} ${remote ? `${remote} ` : ""}${local}`;
  const next = type.startsWith("pull-") ? "; asked for again, it goes on from what has come" : "";
  return `berth: ${visible(what)} was broken off at ${Math.floor(progress * 100)}%${next}\n`;
}

const NOT_RUNNING = 3;

async function status({ paths }: Context, { json }: Options): Promise<number> {
  const client = await DaemonClient.connect(paths);
  if (client === null) {
    if (json === true) print("null\n");
    else say(`berthd does not run for ${paths.run}\n`);
    return NOT_RUNNING; // as systemctl status has it
  }
  const told = await client.call("status", {});
  client.close();
  if (json === true) printJson(told);
  else print(page(told));
  return 0;
}

function page({ pid, version, machines, socket, bus, root }: DaemonStatus): string {
  const rows = [
    ["PID", pid],
    ["Version", version],
    ["Machines", machines],
    ...(root === null ? [] : [["Root", root]]),
    ["Socket", socket],
    ["Bus", bus ?? "none"],
  ];
  return `berthd\n${rows.map(([key, value]) => `  ${String(key).padEnd(8)} ${value}\n`).join("")}`;
}
