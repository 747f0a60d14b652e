/**
 * The leak check: the host after a test is the host before it. Mounts, cgroups, network links, named network
 * namespaces, loop devices, berth's unix sockets, this worker's fds, processes, temporary files.
 *
 *   checkLeaks();                                     // top of the file: around every test, its hooks included
 *   checkLeaks({ directories: [runDirectory] });      // watches these as well, three levels deep
 *   checkLeaks({ except: ["fd"] });                   // for what this worker has a reason to keep: write it down
 *   checkLeaks({ scope: "file" });                    // beforeAll..afterAll, where tests share something that runs
 *   await using check = await leakCheck();            // inside a test: throws at the end of the block
 *   const before = snapshot(); ...; leaksSince(before)   // lines, [] = clean; waits for nothing
 *   openFds(pid)                                      // fds of a daemon, to compare yourself
 *
 * The kernel takes mounts and namespaces apart in its own time, so a difference counts if it lasts only (settled.ts).
 */
import { spawnSync } from "node:child_process";
import { aroundAll, aroundEach } from "vitest";
import { keptMountinfo } from "../../src/host/mount-table.ts";
import { KINDS } from "./host-state.ts";
import { newProcesses, type Processes, readProcesses } from "./processes.ts";
import { settled } from "./settled.ts";

export { openFds } from "./host-state.ts";

export interface LeakOptions {
  /** Watched besides os.tmpdir(): a run directory, a store. */
  readonly directories?: readonly string[];
  /** KINDS names that are not looked at. */
  readonly except?: readonly string[];
}

export interface Snapshot {
  readonly directories: readonly string[];
  readonly except: readonly string[];
  /** By KINDS name. */
  readonly lines: ReadonlyMap<string, readonly string[]>;
  readonly processes: Processes;
}

export function snapshot({ directories = [], except = [] }: LeakOptions = {}): Snapshot {
  const kinds = KINDS.filter(({ name }) => !except.includes(name));
  const lines = new Map(kinds.map((kind) => [kind.name, kind.read(directories)]));
  return { directories, except, lines, processes: readProcesses() };
}

/** What differs from `before` now, one line a thing: `left: mount /x ...`, `gone: cgroup ...`. */
export function leaksSince(before: Snapshot): string[] {
  const after = snapshot(before);
  const found = KINDS.flatMap(({ name, keep }) => {
    const [old, now] = [before.lines.get(name) ?? [], after.lines.get(name) ?? []];
    const left = minus(now, old).map((line) => `left: ${name} ${line}`);
    return keep ? [...left, ...minus(old, now).map((line) => `gone: ${name} ${line}`)] : left;
  });
  const processes = newProcesses(before.processes, after.processes);
  return [...found, ...processes.map((line) => `left: process ${line}`)];
}

/** Throws if a difference lasts. */
export async function expectNoLeaks(before: Snapshot, grace?: number): Promise<void> {
  const found = await settled(() => leaksSince(before), grace);
  if (found.length === 0) return;
  const error = new Error(`the test changed the host:\n  ${found.join("\n  ")}`);
  error.name = "LeakError";
  throw error;
}

/** For `await using`; `grace` in milliseconds. */
export async function leakCheck(options: LeakOptions & { readonly grace?: number } = {}): Promise<AsyncDisposable> {
  const before = warmSnapshot(options);
  return { [Symbol.asyncDispose]: () => expectNoLeaks(before, options.grace) };
}

/** Call at the top of a test file, before other hooks. */
export function checkLeaks(options: LeakOptions & { readonly scope?: "test" | "file" } = {}): void {
  if (options.scope === "file") {
    aroundAll((runSuite) => guarded(runSuite, options));
  } else {
    aroundEach((runTest) => guarded(runTest, options));
  }
}

async function guarded(run: () => Promise<void>, options: LeakOptions): Promise<void> {
  const before = warmSnapshot(options);
  await run();
  await expectNoLeaks(before);
}

let warm = false;

/** Node opens some fds for good at its first child process, and berth one for the table of mounts: not the first test's fault. */
function warmSnapshot(options: LeakOptions): Snapshot {
  if (!warm) spawnSync("true");
  keptMountinfo();
  warm = true;
  return snapshot(options);
}

/** Multiset difference: what `from` has more often than `these`. */
function minus(from: readonly string[], these: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of these) left.set(line, (left.get(line) ?? 0) + 1);
  return from.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}
