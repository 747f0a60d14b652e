/**
 * A file whose opening has to wait until somebody gives up a lease on it (fcntl(2)), 45 s at most:
 *
 *   await using lease = await leaseOn(path);                        // until the end of the block
 *   await using lease = await leaseOn(path, { givenUp: true });     // as soon as somebody waits for it
 *
 *   needs("tool:python3")
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

const HOLD = `
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
def asked(*_):
    if sys.argv[2] == "true": fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, asked)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready", flush=True)
while True: signal.pause()`;

export async function leaseOn(path: string, { givenUp = false } = {}): Promise<AsyncDisposable> {
  const holder = spawn("python3", ["-c", HOLD, path, `${givenUp}`], { stdio: ["ignore", "pipe", "inherit"] });
  const gone = once(holder, "exit");
  await Promise.race([once(holder.stdout, "data"), gone]);
  if (holder.exitCode !== null) throw new Error(`no lease on ${path}`);
  return {
    async [Symbol.asyncDispose]() {
      holder.kill("SIGKILL");
      await gone;
    },
  };
}
