import { BerthError } from "../errors.ts";
import { INSTALLATION } from "../host/installation.ts";
import { findPaths } from "../host/paths.ts";
import { Berthd } from "./berthd.ts";
import { openLog } from "./log.ts";

/** berthd [--root DIR]: see berthd(8). */
async function main(argv: readonly string[]): Promise<number> {
  const root = rootOption(argv);
  if (process.geteuid?.() !== 0) throw new BerthError("berthd needs to be root", { hint: "run this as root" });
  process.umask(0o022);
  const daemonLog = openLog(process.env);
  const { log } = daemonLog;
  const berthd = new Berthd(findPaths(process.env, INSTALLATION, root), process.env, daemonLog);
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => berthd.end());
  // A bug in one operation must not take the daemon from all machines: it is told, and the others go on.
  for (const event of ["uncaughtException", "unhandledRejection"] as const)
    process.on(event, (error: unknown) => {
      log.fatal({ stack: error instanceof Error ? error.stack : undefined }, `internal error: ${String(error)}`);
    });
  await berthd.start();
  await berthd.ended();
  return 0;
}

function rootOption(argv: readonly string[]): string | undefined {
  const [first, second, ...more] = argv;
  if (first === undefined) return undefined;
  if (first.startsWith("--root=") && second === undefined) return first.slice("--root=".length);
  if (first === "--root" && second !== undefined && more.length === 0) return second;
  throw new BerthError(`unknown argument ${first}`, { hint: "berthd [--root DIR]", exitStatus: 2 });
}

void main(process.argv.slice(2))
  .catch((error: unknown) => {
    const { message, hint, exitStatus } =
      error instanceof BerthError ? error : new BerthError(`internal error: ${String(error)}`);
    process.stderr.write(`berthd: ${message}\n${hint === undefined ? "" : `hint: ${hint}\n`}`);
    return exitStatus;
  })
  .then((status) => process.exit(status));
