import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { EXIT_BUSY, LOCK } from "../manager/protocol.ts";
import { DaemonClient } from "./daemon-client.ts";
import { say } from "./output.ts";

const PROGRAM = join(INSTALLATION, "dist", "berthd");
/** For a daemon to serve its clients. */
const PATIENCE_MS = 30_000;
const LOOK_MS = 5;
/** For another daemon, which has the lock, to serve us or to end. */
const AGAIN_MS = 100;
/** Bytes: then the log of before is `berthd.log.1`. */
const LOG_MAX = 1 << 20;
/** What a service manager tells the process that it starts, which is not berthd. */
const OF_A_SERVICE = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"];

/** The daemon of this root, started if there is none. */
export async function needDaemon(paths: Paths, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<DaemonClient> {
  const client = await DaemonClient.connect(paths);
  if (client !== null) return client;
  if (process.geteuid?.() !== 0)
    throw new BerthError(`berthd does not run for ${paths.run}`, { hint: "root starts it: berth daemon start" });
  const { pid, client: started } = await startDaemon(paths, env, signal);
  if (pid !== null) say(`berth: started berthd, pid ${pid}\n`);
  return started;
}

interface Started {
  /** Null: somebody else was faster. */
  readonly pid: number | null;
  readonly client: DaemonClient;
}

/**
 * Starts one in the background; `signal`: nobody waits for it any more.
 * @throws BerthError with what it said when it does not serve anybody
 */
export async function startDaemon(paths: Paths, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<Started> {
  const log = openLog(paths);
  try {
    for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(AGAIN_MS, undefined, { signal })) {
      const started = await attempt(paths, env, log, { deadline, signal });
      if (started !== "busy") return started;
    }
  } finally {
    closeSync(log.fd);
  }
}

interface Log {
  readonly fd: number;
  readonly path: string;
}

/** Busy: there is one that starts, or is just ending. */
async function attempt(
  paths: Paths,
  env: NodeJS.ProcessEnv,
  log: Log,
  { deadline, signal }: { readonly deadline: number; readonly signal: AbortSignal | undefined },
): Promise<Started | "busy"> {
  const begin = statSync(log.path).size;
  const child = spawn(PROGRAM, [], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", log.fd, log.fd],
    env: environment(paths, env),
  });
  let ended: Error | number | null = null;
  child.once("exit", (status) => {
    ended = status ?? 1;
  });
  child.once("error", (error) => {
    ended = error;
  });
  while (performance.now() < deadline) {
    const client = await DaemonClient.connect(paths);
    if (client !== null) {
      child.unref();
      const pid = holderOf(paths);
      return { pid: pid === child.pid ? pid : null, client };
    }
    if (ended === EXIT_BUSY) return "busy";
    if (ended !== null) throw notStarted(ended, log.path, begin);
    await sleep(LOOK_MS, undefined, { signal });
  }
  child.kill("SIGKILL");
  throw new BerthError(`berthd did not answer within ${PATIENCE_MS / 1000} s`, { hint: `${log.path} may say why` });
}

/** The pid that the daemon has written into its lock; null: it could not. */
function holderOf({ run }: Paths): number | null {
  try {
    return Number(readFileSync(join(run, LOCK), "utf8"));
  } catch {
    return null;
  }
}

function environment(paths: Paths, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = { BERTH_ETC: paths.etc, BERTH_RUN: paths.run, BERTH_MACHINES: paths.machines, BERTH_CACHE: paths.cache };
  return { ...env, ...Object.fromEntries(OF_A_SERVICE.map((name) => [name, undefined])), ...own };
}

function notStarted(ended: Error | number, log: string, begin: number): BerthError {
  if (ended instanceof Error) return new BerthError(`${PROGRAM}: ${ended.message}`, { hint: "npm run build makes it" });
  const lines = readFileSync(log).subarray(begin).toString("utf8").split("\n").filter(Boolean);
  const hint = lines.find((line) => line.startsWith("hint: "))?.slice("hint: ".length);
  const said = lines.find((line) => line.startsWith("berthd: "))?.slice("berthd: ".length);
  return new BerthError(said ?? `berthd ended with status ${ended}`, { hint: hint ?? `${log} says more` });
}

function openLog({ run }: Paths): Log {
  mkdirSync(run, { recursive: true, mode: 0o755 });
  const path = join(run, "berthd.log");
  if (existsSync(path) && statSync(path).size > LOG_MAX) renameSync(path, `${path}.1`);
  return { fd: openSync(path, "a", 0o600), path };
}
