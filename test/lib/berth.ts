/**
 * dist/berth as a user runs it, on a berth root of its own in os.tmpdir().
 *
 *   await using root = berthRoot();                        // removed at the end; throws if something of a machine is left
 *   root.settings("web", "[Exec]\nBoot=no");               // etc/machines/web.nspawn
 *   const end = await root.berth("list", "--json");        // { status, signal, stdout, stderr }, when it has ended
 *   const end = await root.run(tree, ["--pipe"], probe("ids"), { input: "text" });      // berth run -D tree ...
 *   await using child = root.start("run", "-D", tree, "-b");                            // goes on running
 *   await child.until(/up/); child.kill("SIGTERM"); await child.end;
 *   root.record("web")                                     // record.json of a running machine, null: none
 *
 * `buildBerth()` once a file, in beforeAll: builds dist/ where it is older than src/.
 */
import {
  type ChildProcessWithoutNullStreams,
  execFileSync,
  type SpawnOptions,
  spawn,
  spawnSync,
} from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { PrivateBus } from "../../src/bus/private-bus.ts";
import { findPaths } from "../../src/host/paths.ts";
import { recordsDirectory } from "../../src/machine/places.ts";
import { listMachines, type MachineRecord } from "../../src/machine/record.ts";
import { killMachine, killUnknown } from "../../src/machine/signal-machine.ts";
import { sweep } from "../../src/machine/sweep.ts";
import { LOCK } from "../../src/manager/protocol.ts";
import { isLocked } from "../../src/sys/file-lock.ts";
import { settled } from "./settled.ts";
import { TEST_CACHE } from "./trees.ts";

const CHECKOUT = fileURLToPath(new URL("../..", import.meta.url));
export const BERTH = join(CHECKOUT, "dist/berth");

/** For a daemon to end. */
const STOP_MS = 10_000;

/** What tests pass between themselves, and nothing a machine's payload should ever see. */
const CALLER_MARK = { BERTH_TEST_SECRET: "of the caller" };

export function buildBerth(): void {
  if (newest(join(CHECKOUT, "src")) < modified(join(CHECKOUT, "dist/berth.cjs"))) return;
  execFileSync("sh", [join(CHECKOUT, ".scripts/build")], { stdio: "pipe" });
}

function newest(directory: string): number {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
  return Math.max(...names.map((name) => modified(join(directory, name))));
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

export interface End {
  /** Null: killed by `signal`. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Written to its stdin, which is then closed. Without it stdin is /dev/null. */
  readonly input?: string | Buffer;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** An fd; or "pipe": a pipe that stays open. */
  readonly stdin?: number | "pipe";
}

export function berthRoot(): BerthRoot {
  return new BerthRoot();
}

export class BerthRoot {
  readonly path = mkdtempSync(join(tmpdir(), "root-"));
  readonly machines = join(this.path, "machines");
  readonly etc = join(this.path, "etc");
  /** Its own settings of where everything is win over what the test runner was started with. */
  readonly env: NodeJS.ProcessEnv = {
    ...process.env,
    ...CALLER_MARK,
    BERTH_ROOT: this.path,
    BERTH_CACHE: TEST_CACHE,
    BERTH_ETC: "",
    BERTH_RUN: "",
    BERTH_MACHINES: "",
  };

  constructor() {
    // The machines' roots have to reach what is below.
    chmodSync(this.path, 0o755);
    for (const directory of [this.machines, join(this.etc, "machines")]) mkdirSync(directory, { recursive: true });
  }

  settings(name: string, text: string): string {
    const path = join(this.etc, "machines", `${name}.nspawn`);
    writeFileSync(path, `${text}\n`, { mode: 0o644 });
    return path;
  }

  /** A directory on the host for binds and the like. */
  directory(name: string, mode = 0o755): string {
    const path = join(this.path, name);
    mkdirSync(path, { recursive: true });
    chmodSync(path, mode);
    return path;
  }

  /** Goes on running. */
  start(...words: readonly string[]): Running {
    return this.spawn([BERTH, ...words]);
  }

  /** Any command, in berth's environment of this root: a shell that starts berth, say. */
  spawn(argv: readonly string[], { input, env = {}, cwd, stdin }: RunOptions = {}): Running {
    const options = { env: { ...this.env, ...env }, ...(cwd === undefined ? {} : { cwd }) };
    return new Running(argv, options, input, stdin);
  }

  berth(...words: readonly string[]): Promise<End> {
    return this.start(...words).end;
  }

  /** `berth run -D tree OPTIONS -- COMMAND`, to its end; by default with the payload's fds as berth's own (--pipe). */
  run(tree: string, options: readonly string[], command: readonly string[], more: RunOptions = {}): Promise<End> {
    const pipe = options.some((word) => /^(--console|--pipe|-P)/.test(word)) ? [] : ["--pipe"];
    return this.spawn([BERTH, "run", "-D", tree, ...pipe, ...options, "--", ...command], more).end;
  }

  record(name: string): MachineRecord | null {
    const text = read(join(this.path, "run/running", name, "record.json"));
    return text === "" ? null : JSON.parse(text);
  }

  /** What the keeper has logged of a running machine's console, with the frames' heads. */
  consoleLog(name: string): string {
    return read(join(this.path, "run/running", name, "console.log"));
  }

  /** When a machine has got there. */
  async recordWhen(name: string, is: (record: MachineRecord) => boolean = () => true): Promise<MachineRecord> {
    return poll(`record of ${name}`, () => {
      const record = this.record(name);
      return record !== null && is(record) ? record : undefined;
    });
  }

  /** Remains of machines that do not run any more: records, locks, layers, locked id ranges. */
  leftovers(): string[] {
    const of = (directory: string) => list(join(this.path, directory)).map((name) => `${directory}/${name}`);
    const ranges: Record<string, number> = JSON.parse(
      read(join(this.machines, ".berth-ranges.json")) || '{"ranges":{}}',
    ).ranges;
    return [
      ...of("run/locks"),
      ...of("run/running"),
      ...list(this.machines).filter((name) => /^\.berth-(layer-|temporary)/.test(name)),
      ...Object.values(ranges)
        .map((base) => `/run/systemd/nspawn-uid/${base}`)
        .filter(existsSync),
    ];
  }

  /** For what a test that failed has left running, and which no daemon looks after any more. */
  async #sweep(): Promise<void> {
    const paths = findPaths(this.env, CHECKOUT, undefined);
    for (const machine of listMachines(paths))
      await (machine.state === "unknown" ? killUnknown(machine, paths) : killMachine(machine)).catch(console.error);
    await poll("the end of what was left", () => {
      sweep(paths, console.error);
      return list(recordsDirectory(paths)).length === 0 ? true : undefined;
    });
  }

  /** Of the daemon of this root; undefined: none runs. */
  daemonPid(): number | undefined {
    const lock = join(this.path, "run", LOCK);
    const pid = Number(read(lock));
    return pid > 0 && isLocked(lock) ? pid : undefined;
  }

  /** Nothing of a daemon that a command has started goes on: one that does not end is killed, and that is a failure. */
  async #stopDaemon(): Promise<void> {
    if (this.daemonPid() === undefined) return;
    await using stop = this.start("daemon", "stop");
    const end = await Promise.race([stop.end, sleep(STOP_MS, undefined, { ref: false })]);
    const pid = this.daemonPid();
    if (pid !== undefined) {
      process.kill(pid, "SIGKILL");
      await poll("the end of berthd", () => (isRunning(pid) ? undefined : true));
    }
    if (pid !== undefined || end?.status !== 0)
      throw new Error(`berth daemon stop: ${end?.stderr ?? `no end within ${STOP_MS} ms`}; daemon ${pid ?? "gone"}`);
  }

  /** The socket of berth's own bus. */
  get bus(): string {
    return join(this.path, "run/bus");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A daemon removes the record first, and a test may have seen no more than that.
    const left = await settled(() => this.leftovers());
    try {
      await this.#stopDaemon();
      // That of a daemon which was killed waits for the next one.
      if (existsSync(this.bus)) await new PrivateBus({ run: join(this.path, "run"), services: [] }).stop();
    } finally {
      if (left.length > 0) await this.#sweep();
      // An image that a failed test has left marked read-only.
      const images = list(this.machines).map((name) => join(this.machines, name));
      if (images.length > 0) spawnSync("chattr", ["-f", "-i", ...images]);
      rmSync(this.path, { recursive: true });
    }
    if (left.length > 0) throw new Error(`left of machines that have ended:\n  ${left.join("\n  ")}`);
  }
}

/** A berth process that may still run. It is killed at the end of the block, if it has not ended. */
export class Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly end: Promise<End>;
  readonly #chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };

  constructor(argv: readonly string[], options: SpawnOptions, input?: string | Buffer, stdin?: number | "pipe") {
    const [program = "", ...words] = argv;
    const from = stdin ?? (input === undefined ? "ignore" : "pipe");
    this.child = spawn(program, words, { stdio: [from, "pipe", "pipe"], ...options }) as ChildProcessWithoutNullStreams;
    for (const name of ["stdout", "stderr"] as const)
      this.child[name]?.on("data", (chunk: Buffer) => this.#chunks[name].push(chunk));
    this.end = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", (status, signal) =>
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
    if (from !== "pipe") return;
    this.child.stdin.on("error", () => undefined); // it did not want to read all of it
    if (input !== undefined) this.child.stdin.end(input);
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  get stdout(): string {
    return this.bytes().toString("utf8");
  }

  /** Without what the first command that needs the daemon says: which one that is is no test's matter. */
  get stderr(): string {
    return Buffer.concat(this.#chunks.stderr)
      .toString("utf8")
      .replace(/^berth: started berthd, pid \d+\n/m, "");
  }

  /** Of its stdout. */
  bytes(): Buffer {
    return Buffer.concat(this.#chunks.stdout);
  }

  /** Resolves when its stdout or stderr matches; throws when it ends before. */
  async until(pattern: RegExp): Promise<void> {
    await poll(`${pattern}`, () => {
      if (pattern.test(this.stdout) || pattern.test(this.stderr)) return true;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(
          `berth ended (${this.child.exitCode ?? this.child.signalCode}) before ${pattern}:\n${this.stdout}${this.stderr}`,
        );
      return undefined;
    });
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.stdout?.resume();
    if (this.child.exitCode === null && this.child.signalCode === null) this.kill("SIGKILL");
    await this.end;
  }
}

/** Asks until there is an answer; a minute is not a promise about speed but the end of all patience. */
export async function poll<T>(what: string, ask: () => T | undefined): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const answer = ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`${what} did not come within 60 s`);
    await sleep(5);
  }
}

/** Rounds of what may be over before this process has seen it: until one says that it was not. */
export async function caught(what: string, round: () => Promise<boolean>): Promise<void> {
  for (let rounds = 0; rounds < 5; rounds++) if (await round()) return;
  throw new Error(`${what} did not come about in five rounds`);
}

/** It runs, or it could: a zombie does not. */
export function isRunning(pid: number): boolean {
  const status = read(`/proc/${pid}/status`);
  return status !== "" && !/^State:\s*Z/m.test(status);
}

export function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}

/** When a signal has stopped it: a SIGCONT that comes before is lost. */
export async function untilStopped(pid: number): Promise<void> {
  await poll(`the stop of ${pid}`, () => (/^State:\s*T/m.test(read(`/proc/${pid}/status`)) ? true : undefined));
}

/** Children of a process, by pid. */
export function childrenOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
