/**
 * Honest skips: a test says what it needs; where that is missing it is skipped with the reason, which the
 * reporter lists. With BERTH_MUST_RUN=1 (CI) a missing tool or permission fails the test instead; what a host
 * may rightly lack (a controller, systemd as PID 1, a kernel version, an architecture) stays a skip.
 *
 *   needs("root", "userns", "cc");                 // at the top of a file or in a describe: for all tests in it
 *   test("...", (ctx) => { needsHere(ctx, "tool:strace"); ... });            // for one test
 *   const ready = needs("root", "cc");             // false: skipped. beforeAll still runs, so ask there:
 *   beforeAll(async () => { if (ready) tree = await probeTree(); });
 *   missing("cgroup2")?.reason                     // the plain question, undefined = it is there
 *
 * Needs: root | userns | cgroup2 | cc | systemd | no-systemd | no-selinux | systemd-nspawn | tool:NAME | cap:CAP_SYS_ADMIN
 *        | controller:NAME | kernel:6.3 | arch:arm64 | i386 | file:/dev/fuse
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, type TestContext } from "vitest";
import { capabilityNumber } from "../../src/spec/capabilities.ts";

export interface Missing {
  readonly need: string;
  /** A sentence without a full stop. */
  readonly reason: string;
  /** The host may rightly lack it: stays a skip under BERTH_MUST_RUN=1. */
  readonly lawful: boolean;
}

/** A check answers undefined where all is well, else what is wrong. */
type Check = (argument: string) => string | undefined;
interface Row {
  readonly check: Check;
  readonly lawful?: true;
}

/** One row a kind of need; the text after the colon is its argument. */
const NEEDS = {
  root: { check: () => (process.geteuid?.() === 0 ? undefined : "not root") },
  cap: { check: capability },
  userns: { check: () => works("unshare", ["--user", "--map-root-user", "true"], "no user namespaces") },
  cgroup2: { check: cgroup2 },
  controller: { check: controller, lawful: true },
  cc: { check: () => works("cc", ["-print-file-name=libc.a"], "no C compiler (Debian: gcc libc6-dev)", /^\//) },
  tool: { check: (name) => (findTool(name) ? undefined : `no ${name} in PATH`) },
  "systemd-nspawn": {
    check: () => (findTool("systemd-nspawn") ? undefined : "no systemd-nspawn (Debian: systemd-container)"),
  },
  systemd: {
    check: () => (existsSync("/run/systemd/system") ? undefined : "systemd is not PID 1 of this host"),
    lawful: true,
  },
  "no-systemd": {
    check: () => (existsSync("/run/systemd/system") ? "systemd is PID 1 of this host" : undefined),
    lawful: true,
  },
  "no-selinux": {
    check: () => (existsSync("/sys/fs/selinux/enforce") ? "this host has SELinux" : undefined),
    lawful: true,
  },
  kernel: { check: kernel, lawful: true },
  arch: { check: (name) => (process.arch === name ? undefined : `this host is ${process.arch}`), lawful: true },
  i386: { check: i386, lawful: true },
  file: { check: (path) => (existsSync(path) ? undefined : `no ${path}`) },
} as const satisfies Record<string, Row>;

type Argued = "cap" | "controller" | "tool" | "kernel" | "arch" | "file";
export type Need = Exclude<keyof typeof NEEDS, Argued> | `${Argued}:${string}`;

/** For every test of the file or describe block it is called in. Answers whether everything is there. */
export function needs(...list: Need[]): boolean {
  const lacking = firstMissing(list);
  if (lacking) beforeEach((ctx) => refuse(ctx, lacking));
  return lacking === undefined;
}

/** For the one test whose context this is. */
export function needsHere(ctx: TestContext, ...list: Need[]): void {
  const lacking = firstMissing(list);
  if (lacking) refuse(ctx, lacking);
}

function firstMissing(list: readonly Need[]): Missing | undefined {
  for (const need of list) {
    const lacking = missing(need);
    if (lacking) return lacking;
  }
  return undefined;
}

function refuse(ctx: TestContext, lacking: Missing): void {
  if (process.env["BERTH_MUST_RUN"] === "1" && !lacking.lawful) {
    throw new Error(`needs ${lacking.need}: ${lacking.reason}; BERTH_MUST_RUN=1 allows no skip for that`);
  }
  ctx.skip(`needs ${lacking.need}: ${lacking.reason}`);
}

const answers = new Map<string, Missing | undefined>();

/** What is missing for this need, undefined if nothing. Looked up once a worker. */
export function missing(need: Need): Missing | undefined {
  if (answers.has(need)) return answers.get(need);
  const colon = need.indexOf(":");
  const kind = colon < 0 ? need : need.slice(0, colon);
  const rows: Record<string, Row> = NEEDS;
  const row = rows[kind];
  if (!row) throw new Error(`unknown need ${need}; see NEEDS in test/lib/requires.ts`);
  const reason = row.check(colon < 0 ? "" : need.slice(colon + 1));
  const answer = reason === undefined ? undefined : { need, reason, lawful: row.lawful ?? false };
  answers.set(need, answer);
  return answer;
}

/** Full path of a program: PATH, then the places of administrators' tools a user's PATH may lack. */
export function findTool(name: string): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function works(tool: string, args: string[], problem: string, output = /^/): string | undefined {
  const result = spawnSync(tool, args, { encoding: "utf8" });
  if (result.error) return `${problem}: no ${tool} in PATH`;
  if (result.status !== 0) return `${problem}: ${result.stderr.trim()}`;
  return output.test(result.stdout) ? undefined : problem;
}

/** Some kernels, and hypervisors under them, take no system calls of 32-bit programs, whatever they say. */
function i386(): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), "i386-"));
  try {
    const program = join(directory, "program");
    const code =
      'int main() { long pid; __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory"); return pid < 0; }';
    const made = spawnSync("cc", ["-x", "c", "-o", program, "-"], { input: code, encoding: "utf8" });
    // No lawful skip: without a compiler nobody knows.
    if (made.status !== 0) throw new Error(`cc makes no program that tries: ${made.stderr ?? made.error?.message}`);
    return spawnSync(program).status === 0 ? undefined : "no system calls of 32-bit programs (int 0x80) here";
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function capability(name: string): string | undefined {
  const bit = capabilityNumber(name);
  if (bit === undefined) throw new Error(`unknown capability ${name}; see src/spec/capabilities.ts`);
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return (BigInt(`0x${effective}`) >> BigInt(bit)) & 1n ? undefined : `this process has no ${name}`;
}

/** Mount point of the host's cgroup2 tree, undefined where there is none. */
export function cgroup2Mount(): string | undefined {
  const line = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .find((text) => text.includes(" - cgroup2 "));
  return line?.split(" ")[4];
}

function cgroup2(): string | undefined {
  const mount = cgroup2Mount();
  if (mount === undefined) return "no cgroup2 is mounted";
  try {
    accessSync(mount, constants.W_OK);
    return undefined;
  } catch {
    return `${mount} is not writable`;
  }
}

function controller(name: string): string | undefined {
  const mount = cgroup2Mount();
  if (mount === undefined) return "no cgroup2 is mounted";
  const there = readFileSync(join(mount, "cgroup.controllers"), "utf8").trim();
  return there.split(" ").includes(name) ? undefined : `cgroup2 controllers here: ${there || "none"}`;
}

function kernel(least: string): string | undefined {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const [wantMajor = 0, wantMinor = 0] = least.split(".").map(Number);
  const enough = major > wantMajor || (major === wantMajor && minor >= wantMinor);
  return enough ? undefined : `this kernel is ${release()}`;
}
