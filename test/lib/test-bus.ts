/** A private dbus-daemon for tests: root may do anything on it, and it can be killed and started again at its address. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addressOf } from "../../src/bus/address.ts";
import { connectStream } from "../../src/sys/unix-stream.ts";

export interface TestBus {
  readonly address: string;
  /** For other users, who can't come to the temporary directory. */
  readonly publicAddress: string;
  readonly socket: string;
  readonly directory: string;
  pid(): number;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Ends it and removes its directory. */
  remove(): Promise<void>;
}

const CONFIG = (socket: string, more: string) => `<busconfig>
  <type>system</type>
  <listen>${addressOf(socket)}</listen>
  <listen>unix:abstract=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
  </policy>
  ${more}
</busconfig>
`;

/** `more`: elements of its configuration, as `<limit name="...">`. */
export async function startTestBus(more = ""): Promise<TestBus> {
  const directory = mkdtempSync(join(tmpdir(), "berth-test-bus-"));
  const [socket, config] = [join(directory, "bus"), join(directory, "bus.conf")];
  writeFileSync(config, CONFIG(socket, more));
  const log = openSync(join(directory, "log"), "a");
  let daemon: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    daemon = spawn("dbus-daemon", ["--nofork", "--nopidfile", "--nosyslog", `--config-file=${config}`], {
      stdio: ["ignore", "ignore", log],
    });
    for (const end = performance.now() + 10_000; ; await sleep(5)) {
      try {
        closeSync(await connectStream(socket));
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
    }
  };
  const kill = (): Promise<void> =>
    new Promise((resolve) => {
      if (!daemon || daemon.exitCode !== null || daemon.signalCode !== null) return resolve();
      daemon.once("exit", () => resolve());
      daemon.kill("SIGKILL");
    });
  await start();
  return {
    address: addressOf(socket),
    publicAddress: `unix:abstract=${socket}`,
    socket,
    directory,
    pid: () => daemon?.pid ?? 0,
    kill,
    start,
    async remove() {
      await kill();
      closeSync(log);
      rmSync(directory, { recursive: true });
    },
  };
}
