/** A server of Debian's on loopback: a process that serves when its port answers, and ends with the block. */
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** ms */
const PATIENCE = 20_000;

export async function serve(
  argv: readonly string[],
  port: number,
  env: NodeJS.ProcessEnv = {},
): Promise<AsyncDisposable> {
  const [program = "", ...words] = argv;
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      said = `${said}${chunk.toString()}`.slice(-4000);
    });
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => resolve());
  });
  ended.catch(() => undefined);
  const deadline = performance.now() + PATIENCE;
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`${argv.join(" ")} does not serve: ${said}`);
    }
    await sleep(20);
  }
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
      await ended;
      clearTimeout(late);
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
