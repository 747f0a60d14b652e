/**
 * What the benchmarks share: contestants that take turns, so that the drift of a noisy machine hits all alike, and
 * tables of medians. Each file beside this one is a benchmark of its own; .scripts/bench runs them.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findTool } from "../lib/requires.ts";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
/** The launcher that .scripts/build made. */
export const BERTH = join(REPOSITORY, "dist/berth");
export const RUNTIME = process.execPath;

/** Milliseconds by column. */
export type Sample = Readonly<Record<string, number>>;

export interface Contestant {
  readonly name: string;
  /** What it does and what not: no figure without it. */
  readonly note: string;
  run(): Promise<Sample>;
  close?(): void;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Result {
  readonly name: string;
  readonly note: string;
  readonly rounds: number;
  readonly columns: Readonly<Record<string, Spread>>;
}

/** Runs every contestant once a round, `warmup` rounds uncounted, so many ms after the round before. One that fails drops out and is named. */
export async function roundRobin(
  contestants: readonly Contestant[],
  rounds: number,
  warmup = 2,
  pause = 0,
): Promise<Result[]> {
  const samples = new Map(contestants.map((contestant) => [contestant, [] as Sample[]]));
  for (let round = -warmup; round < rounds; round++) {
    if (pause > 0) await sleep(pause);
    for (const [contestant, taken] of shuffled([...samples])) {
      try {
        const sample = await contestant.run();
        if (round >= 0) taken.push(sample);
      } catch (error) {
        skip(contestant.name, `failed: ${error instanceof Error ? error.message : error}`);
        samples.delete(contestant);
      }
    }
  }
  for (const { close } of contestants) close?.();
  return [...samples].map(([{ name, note }, taken]) => ({
    name,
    note,
    rounds: taken.length,
    columns: Object.fromEntries(
      Object.keys(taken[0] ?? {}).map((column) => [column, spreadOf(taken.map((sample) => sample[column] ?? NaN))]),
    ),
  }));
}

/** Who follows a machine starts while the kernel still takes its namespaces apart, which costs 3 ms: that is to be each in turn. */
function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => [Math.random(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? NaN;
  const middle = (sorted.length - 1) / 2;
  return { median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2, min: at(0), max: at(sorted.length - 1) };
}

export interface Options {
  readonly rounds: number;
  readonly json: boolean;
}

/** `--rounds N --json`, for every benchmark. */
export function options(rounds: number): Options {
  const { values } = parseArgs({ options: { rounds: { type: "string" }, json: { type: "boolean" } } });
  return { rounds: Number(values.rounds ?? rounds), json: values.json ?? false };
}

export interface Table {
  readonly title: string;
  /** Column of the samples that ratios are taken of. */
  readonly ratioOf: string;
  /** The contestants that the others are held against, by name: a column `/ NAME` each. */
  readonly against: readonly string[];
}

/** Prints the results: medians with minimum and maximum in ms, and each median divided by that of `against`. */
export function report(table: Table, results: readonly Result[], { json }: Options): void {
  if (json) {
    console.log(JSON.stringify({ ...table, environment: environment(), results }));
    return;
  }
  const columns = [...new Set(results.flatMap((result) => Object.keys(result.columns)))];
  const peers = table.against.flatMap((name) => results.find((result) => result.name === name) ?? []);
  const header = ["", ...columns.map((column) => `${column}, ms`), ...peers.map(({ name }) => `/ ${name}`), ""];
  const rows = results.map(({ name, note, columns: spreads }) => [
    name,
    ...columns.map((column) => showSpread(spreads[column])),
    ...peers.map((peer) => ratio(spreads[table.ratioOf], peer.columns[table.ratioOf])),
    note,
  ]);
  console.log(`\n### ${table.title}\n\n${environment()}; ${results[0]?.rounds ?? 0} rounds; median (min-max)\n`);
  console.log(markdown([header, ...rows]));
}

function showSpread(spread: Spread | undefined): string {
  if (spread === undefined) return "";
  return `${digits(spread.median)} (${digits(spread.min)}-${digits(spread.max)})`;
}

function digits(ms: number): string {
  return ms < 100 ? ms.toFixed(2) : ms.toFixed(0);
}

function ratio(a: Spread | undefined, b: Spread | undefined): string {
  return a === undefined || b === undefined ? "" : (a.median / b.median).toFixed(2);
}

export function markdown(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const [header = [], ...body] = rows;
  const rule = `|${widths.map((width, column) => (column === 0 ? `:${"-".repeat(width + 1)}` : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(header), rule, ...body.map(line)].join("\n");
}

/** One line about where and when. */
export function environment(): string {
  const model = cpus()[0]?.model.trim() ?? "?";
  const quiet = process.env["BERTH_BENCH_QUIET"] === "1" ? "quiet (SCHED_RR)" : "as it is";
  const load = loadavg()
    .map((value) => value.toFixed(1))
    .join(" ");
  const when = new Date().toISOString().slice(0, 16).replace("T", " ");
  return `${when}; Linux ${release()}, ${cpus().length} x ${model}; Node ${process.version}; load ${load}; ${quiet}`;
}

export function skip(what: string, why: string): void {
  console.log(`- ${what}: not measured: ${why}`);
}

/** Those whose program is installed (or is ours, by its path); the others are named with a line. */
export function installed<T extends { readonly name: string; readonly tool: string }>(all: readonly T[]): T[] {
  return all.filter(({ name, tool }) => {
    if (tool.startsWith("/") || findTool(tool) !== undefined) return true;
    skip(name, `there is no ${tool} here`);
    return false;
  });
}

/** A directory for the run that every id may reach, removed at the end of the process. */
export function workDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "berth-bench-"));
  chmodSync(directory, 0o755);
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Compiles test/bench/NAME.c into `directory`. */
export function compileC(name: string, directory: string): string {
  const program = join(directory, name);
  const source = join(REPOSITORY, "test/bench", `${name}.c`);
  execFileSync("cc", ["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
  return program;
}

/** A process that answers each line with a line of numbers: floor -s, stopwatch and ask. */
export class Server {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;
  readonly #errors: string[] = [];

  constructor(argv: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const [program = "", ...args] = argv;
    this.#child = spawn(program, args, { env });
    this.#child.stderr.on("data", (text) => this.#errors.push(String(text)));
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** A line that is not answered. */
  say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  async ask(): Promise<number[]> {
    this.#child.stdin.write("\n");
    const answer = await this.#answers.next();
    if (answer.done) throw new Error(this.#errors.join("").trim() || "it ended");
    return answer.value.split(" ").map(Number);
  }

  close(): void {
    this.#child.stdin.end();
  }
}

/** A whole command, from its call to its exit, timed by stopwatch. */
export function command(
  stopwatch: string,
  { name, note, argv, env }: { name: string; note: string; argv: readonly string[]; env?: NodeJS.ProcessEnv },
): Contestant {
  const server = new Server([stopwatch, ...argv], { ...process.env, ...env });
  return {
    name,
    note,
    async run() {
      const [ns = NaN, status] = await server.ask();
      if (status !== 0) throw new Error(`exit status ${status}: ${argv.join(" ")}`);
      return { "to exit": ns / 1e6 };
    },
    close: () => server.close(),
  };
}

/** First line of what a program says about its version. */
export function versionOf(tool: string): string {
  try {
    const text = execFileSync(tool, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return text.split("\n")[0]?.trim() ?? "";
  } catch {
    return "";
  }
}

/** PSS of a process in kB, proc_pid_smaps_rollup(5). */
export function pss(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? NaN);
}
