/**
 * The end of every test run: each skip with its reason, then, as the very last line,
 *
 *   N passed, N failed            or            N passed, N failed, N skipped
 *
 * and an exit status that agrees with it. What passed only when it was run again (vitest.config.ts) is listed with what it had failed by: it is
 * to be looked at. A file that does not load, a hook that fails and an error that no test
 * caught count as one failed each; so does a run in which nothing ran. With BERTH_MUST_RUN=1 a skip without a
 * reason is a failure.
 *
 * The line is written when the process exits, so that nothing vitest prints can follow it: to the file
 * BERTH_TEST_SUMMARY names (.scripts/test prints that last), else to standard output.
 */
import { writeFileSync, writeSync } from "node:fs";
import type { Reporter, SerializedError, TestCase, TestModule, TestSuite, Vitest } from "vitest/node";

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** One line a skip: where, and why. */
  readonly skips: string[];
  /** One line a test that failed first: where, and how. */
  readonly again: string[];
  /** What failed besides tests: files, hooks, uncaught errors, skips that must not be. */
  readonly extra: string[];
}

const newTally = (): Tally => ({ passed: 0, failed: 0, skipped: 0, skips: [], again: [], extra: [] });

/** `filtered`: -t chose some tests, so that those not chosen are no skips at all. */
export function tally(
  modules: readonly TestModule[],
  uncaught: readonly { readonly message: string }[],
  filtered: boolean,
  mustRun: boolean,
): Tally {
  const result = newTally();
  for (const module of modules) addSuite(result, module, { filtered, mustRun, hookFailed: false });
  for (const error of uncaught) fail(result, `outside of any test: ${error.message}`);
  return result;
}

interface How {
  readonly filtered: boolean;
  readonly mustRun: boolean;
  /** A hook of an enclosing suite failed, so that its tests did not run. */
  readonly hookFailed: boolean;
}

function addSuite(result: Tally, suite: TestModule | TestSuite, how: How): void {
  const own = suite.errors();
  for (const error of own) fail(result, `${nameOf(suite)}: ${error.message}`);
  const below = { ...how, hookFailed: how.hookFailed || own.length > 0 };
  for (const child of suite.children) {
    if (child.type === "test") addTest(result, child, below);
    else addSuite(result, child, below);
  }
}

function addTest(result: Tally, test: TestCase, how: How): void {
  const outcome = test.result();
  if (outcome.state === "passed") addPassed(result, test, outcome.errors);
  else if (outcome.state === "failed") result.failed++;
  else if (outcome.state === "pending") fail(result, `${nameOf(test)}: never finished`);
  else addSkip(result, test, outcome.note ?? (how.hookFailed ? "a hook around it failed" : undefined), how);
}

/** `errors`: of the times before. */
function addPassed(result: Tally, test: TestCase, errors: readonly { readonly message: string }[] | undefined): void {
  result.passed++;
  const [first] = errors ?? [];
  if (first !== undefined) result.again.push(`${nameOf(test)}: ${String(first.message).split("\n", 1)[0]}`);
}

function addSkip(result: Tally, test: TestCase, reason: string | undefined, how: How): void {
  if (reason === undefined && how.filtered) return;
  if (reason === undefined && how.mustRun) {
    fail(result, `${nameOf(test)}: skipped without a reason`);
    return;
  }
  result.skipped++;
  result.skips.push(`${nameOf(test)}: ${reason ?? "no reason given"}`);
}

function fail(result: Tally, what: string): void {
  result.failed++;
  result.extra.push(what);
}

function nameOf(entity: TestModule | TestSuite | TestCase): string {
  if (entity.type === "module") return entity.relativeModuleId;
  const where = entity.type === "test" ? "" : " (hook)";
  return `${entity.module.relativeModuleId} > ${entity.fullName}${where}`;
}

function list(title: string, lines: readonly string[]): void {
  if (lines.length > 0) console.log(`\n${title}:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

export function lastLine(counts: { passed: number; failed: number; skipped: number }): string {
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  return `${counts.passed} passed, ${counts.failed} failed${skipped}`;
}

export default class LastLineReporter implements Reporter {
  #vitest: Vitest | undefined;
  #tally: Tally | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
    process.on("exit", () => this.#finish());
  }

  onTestRunStart(): void {
    this.#tally = undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], uncaught: readonly SerializedError[]): void {
    const filtered = this.#vitest?.config.testNamePattern !== undefined;
    this.#tally = tally(modules, uncaught, filtered, process.env["BERTH_MUST_RUN"] === "1");
    const { passed, failed, skipped, skips, again, extra } = this.#tally;
    if (passed + failed + skipped === 0) fail(this.#tally, "no test ran");
    list("Skipped", skips);
    list("Passed when it was run again", again);
    list("Failed besides tests", extra);
  }

  /** Runs last of all. What has no tally by now did not come to its end: that is a failure too. */
  #finish(): void {
    const counts = this.#tally ?? newTally();
    const status = Number(process.exitCode ?? 0);
    if (counts.failed === 0 && (status !== 0 || this.#tally === undefined)) counts.failed = 1;
    if (counts.failed > 0 && status === 0) process.exitCode = 1;
    const line = `${lastLine(counts)}\n`;
    const file = process.env["BERTH_TEST_SUMMARY"];
    if (file) writeFileSync(file, line);
    else writeSync(1, line);
  }
}
