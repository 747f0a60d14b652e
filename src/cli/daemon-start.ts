import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import type { Paths } from "../host/paths.ts";
import { DaemonClient } from "./daemon-client.ts";
import { say } from "./output.ts";

/** For a daemon to serve its clients. */
const PATIENCE_MS = 30_000;
const LOOK_MS = 5;
/** Bytes: then the log of before is `berthd.log.1`. */
const LOG_MAX = 1 << 20;

/** The daemon of this root, started if there is none: where systemd runs the host that is for its unit. */
export async function needDaemon(paths: Paths, env: NodeJS.ProcessEnv): Promise<DaemonClient> {
  const client = await DaemonClient.connect(paths);
  if (client !== null) return client;
  if (process.geteuid?.() !== 0)
    throw new BerthError(`berthd does not run for ${paths.run}`, { hint: "root starts it: berth daemon start" });
  const { pid, client: started } = await startDaemon(paths, env);
  say(`berth: started berthd, pid ${pid}\n`);
  return started;
}

/** Starts one in the background. @throws BerthError with what it said when it does not serve anybody */
export async function startDaemon(
  paths: Paths,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly pid: number; readonly client: DaemonClient }> {
  const program = join(INSTALLATION, "dist", "berthd");
  const log = openLog(paths);
  const begin = statSync(log.path).size;
  const child = spawn(program, [], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", log.fd, log.fd],
    env: {
      ...env,
      BERTH_ETC: paths.etc,
      BERTH_RUN: paths.run,
      BERTH_MACHINES: paths.machines,
      BERTH_CACHE: paths.cache,
    },
  });
  closeSync(log.fd);
  let ended: Error | number | null = null;
  child.once("exit", (status) => {
    ended = status ?? 1;
  });
  child.once("error", (error) => {
    ended = error;
  });
  for (let waited = 0; waited < PATIENCE_MS; waited += LOOK_MS) {
    const client = await DaemonClient.connect(paths);
    if (client !== null) {
      child.unref();
      return { pid: child.pid ?? 0, client };
    }
    if (ended !== null) throw notStarted(program, ended, log.path, begin);
    await sleep(LOOK_MS);
  }
  child.kill("SIGKILL");
  throw new BerthError(`berthd did not answer within ${PATIENCE_MS / 1000} s`, { hint: `${log.path} may say why` });
}

function notStarted(program: string, ended: Error | number, log: string, begin: number): BerthError {
  if (ended instanceof Error) return new BerthError(`${program}: ${ended.message}`, { hint: "npm run build makes it" });
  const lines = readFileSync(log).subarray(begin).toString("utf8").split("\n").filter(Boolean);
  const hint = lines.find((line) => line.startsWith("hint: "))?.slice("hint: ".length);
  const said = lines.find((line) => line.startsWith("berthd: "))?.slice("berthd: ".length);
  return new BerthError(said ?? `berthd ended with status ${ended}`, { hint: hint ?? `${log} says more` });
}

function openLog({ run }: Paths): { readonly fd: number; readonly path: string } {
  mkdirSync(run, { recursive: true, mode: 0o755 });
  const path = join(run, "berthd.log");
  if (existsSync(path) && statSync(path).size > LOG_MAX) renameSync(path, `${path}.1`);
  return { fd: openSync(path, "a", 0o600), path };
}
