import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const runScript = fileURLToPath(new URL("../vm/run", import.meta.url));

/** What a job in the test VM needs; the defaults are those of test/vm/run. */
export interface JobOptions {
  /** Its content is copied to /job in the guest, where the script runs. */
  readonly directory?: string;
  /** Debian's name; amd64 unless a test is about another, which is emulated too, but takes minutes instead of seconds. */
  readonly architecture?: "amd64" | "arm64";
  /** MiB. Each (memory, cpus) pair costs a boot once, to be saved: keep to the default unless a test is about it. */
  readonly memory?: number;
  readonly cpus?: number;
  /** From the start of the guest; neither building the image nor waiting for another guest counts. */
  readonly timeoutSeconds?: number;
  /** Ends the guest, for instance vitest's own `signal` of a test. */
  readonly signal?: AbortSignal;
}

export interface JobResult {
  /** The script's exit status; 124: timed out, 125: the guest could not be run (standard error says why). */
  readonly status: number;
  /** Standard output and error of the script, merged. */
  readonly output: string;
}

/**
 * Runs a bash script as root on a throw-away systemd host with cgroup v2 (see test/vm/run). The checkout's dist/, if it is
 * built, is on PATH there. The first call on a checkout makes the image, which takes a minute or more and is announced on
 * standard error; later ones restore a saved guest in a second or two. One guest runs at a time, whoever calls.
 */
async function run(script: string, options: JobOptions = {}): Promise<JobResult> {
  const child = spawn(runScript, [...optionArguments(options), "--", script], {
    stdio: ["ignore", "pipe", "inherit"],
    ...(options.signal && { signal: options.signal }),
  });
  child.stdout.setEncoding("utf8");
  let output = "";
  child.stdout.on("data", (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status, signal) => {
      if (status === null) reject(new Error(`test/vm/run was killed by ${signal}`));
      else resolve({ status, output });
    });
  });
}

function optionArguments(options: JobOptions): string[] {
  const table: [flag: string, value: string | number | undefined][] = [
    ["-a", options.architecture],
    ["-c", options.cpus],
    ["-m", options.memory],
    ["-t", options.timeoutSeconds],
    ["-d", options.directory],
  ];
  return table.flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]));
}

export const vm = { run };
