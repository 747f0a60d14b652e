/**
 * The probe (test/probe/) in tests: compiled once, with trees that hold nothing else.
 *
 *   const tree = await probeTree();                     // shared, read-only by agreement: /probe and empty mount points
 *   const own = await probeTree({ at: directory });     // a copy of your own, to start writably or to spoil
 *   await probeTree({ init: true })                     // with /sbin/init, the probe: a machine that boots, says "up"
 *                                                       // and READY=1, and stops on SIGRTMIN+3
 *   probe("ids", "--", "mounts")                        // the argument vector: ["/probe", "ids", "--", "mounts"]
 *   parseProbe(output)                                  // the JSON lines in an output, terminal line ends allowed
 *   parseProbe(output, "ids")                           // that verb's object; throws, with the output, if it is not there
 *   await using marks = await canaries();               // marks.env for `escape`, so that it has something to look for
 *   parseEscape(output)                                 // { held, escaped, skipped }: lines `NAME detail`
 *
 * `needs("cc")`. The verbs: run test/.cache/probe-<hash>/probe without arguments, or read test/probe/*.c.
 */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const SOURCES = fileURLToPath(new URL("../probe", import.meta.url));
const CACHE = fileURLToPath(new URL("../.cache", import.meta.url));
const COMPILER = "cc";
const COMPILE = ["-std=gnu2x", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror"];

const MOUNT_POINTS = ["proc", "sys", "dev", "run", "tmp", "var/tmp", "var/log", "etc", "usr/lib", "root", "sbin"];
const OS_RELEASE = 'ID=probe\nVERSION_ID=1\nNAME="berth test probe"\nPRETTY_NAME="berth test probe"\n';

export interface TreeOptions {
  readonly init?: boolean;
  /** Directory that is to become the tree; made if need be. */
  readonly at?: string;
  /** Of the architecture it makes programs for. */
  readonly compiler?: string;
}

/** Where the shared one is once probeTree has made it: one a worker of vitest, as a machine locks its tree. */
export function probeTreePath({ init = false, compiler = COMPILER }: Omit<TreeOptions, "at"> = {}): string {
  return placeOf(`tree${init ? "-init" : ""}${process.env["VITEST_POOL_ID"] ?? ""}`, compiler);
}

export async function probeTree({ init = false, at, compiler = COMPILER }: TreeOptions = {}): Promise<string> {
  const cached = await cachedOnce(probeTreePath({ init, compiler }), compiler, (directory, program) => {
    for (const path of MOUNT_POINTS) mkdirSync(join(directory, path), { recursive: true });
    cpSync(program, join(directory, "probe"));
    writeFileSync(join(directory, "etc/os-release"), OS_RELEASE);
    if (init) symlinkSync("../probe", join(directory, "sbin/init"));
  });
  if (at === undefined) return cached;
  cpSync(cached, at, { recursive: true, verbatimSymlinks: true });
  return at;
}

/** The program itself, to run on the host. */
export async function probeProgram(compiler = COMPILER): Promise<string> {
  const make = (directory: string): Promise<void> => compile(compiler, directory);
  return join(await cachedOnce(placeOf("probe", compiler), undefined, make), "probe");
}

export function probe(...words: string[]): string[] {
  return ["/probe", ...words];
}

/** A directory of the cache, named after the sources. */
function placeOf(name: string, compiler: string): string {
  return join(CACHE, `${name}-${sourceHash(compiler)}`);
}

/** Makes it beside its place and renames it, as tests run in parallel. `compiler`: of the program that it needs. */
async function cachedOnce(
  place: string,
  compiler: string | undefined,
  make: (directory: string, program: string) => void | Promise<void>,
): Promise<string> {
  if (existsSync(place)) return place;
  mkdirSync(CACHE, { recursive: true });
  const program = compiler === undefined ? "" : await probeProgram(compiler);
  const making = mkdtempSync(join(CACHE, ".making-"));
  execFileSync("chmod", ["755", making]);
  await make(making, program);
  try {
    renameSync(making, place);
  } catch (error) {
    rmSync(making, { recursive: true });
    if (!existsSync(place)) throw error;
  }
  return place;
}

function sources(): string[] {
  return readdirSync(SOURCES)
    .filter((name) => /\.[ch]$/.test(name))
    .sort();
}

function sourceHash(compiler: string): string {
  const hash = createHash("sha256").update(`${compiler} ${COMPILE} ${MOUNT_POINTS} ${OS_RELEASE}`);
  for (const name of sources()) hash.update(name).update(readFileSync(join(SOURCES, name)));
  return hash.digest("hex").slice(0, 16);
}

async function compile(compiler: string, directory: string): Promise<void> {
  const files = sources().filter((name) => name.endsWith(".c"));
  await promisify(execFile)(compiler, [...COMPILE, "-o", join(directory, "probe"), ...files], { cwd: SOURCES });
}

/** One line of output; `verb` says which. `error` is an errno name where the verb failed. */
export interface ProbeLine {
  readonly verb: string;
  readonly error?: string;
  readonly [key: string]: unknown;
}

export function parseProbe(output: string): ProbeLine[];
export function parseProbe(output: string, verb: string): ProbeLine;
export function parseProbe(output: string, verb?: string): ProbeLine | ProbeLine[] {
  const lines = output
    .split(/\r?\n/)
    .filter((line) => line.startsWith('{"verb":'))
    .map((line): ProbeLine => JSON.parse(line));
  if (verb === undefined) return lines;
  const found = lines.find((line) => line.verb === verb);
  if (!found) throw new Error(`no line of the probe's verb ${verb} in this output:\n${output}`);
  return found;
}

export interface EscapeResult {
  readonly held: string[];
  readonly escaped: string[];
  readonly skipped: string[];
}

/** Throws when the output has no last line: an escape test cut short has not held. */
export function parseEscape(output: string): EscapeResult {
  const result: EscapeResult = { held: [], escaped: [], skipped: [] };
  for (const [, name, verdict, detail] of output.matchAll(/^(\S+:\S+) (held|ESCAPED|skipped)(.*?)\r?$/gm)) {
    result[verdict === "held" ? "held" : verdict === "ESCAPED" ? "escaped" : "skipped"].push(`${name}${detail}`);
  }
  if (!/^escape: \d+ held/m.test(output)) throw new Error(`the escape test did not come to its end:\n${output}`);
  return result;
}

export interface Canaries extends AsyncDisposable {
  /** For the environment of the probe. */
  readonly env: Readonly<Record<string, string>>;
}

const HOST_NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/** Marks on the host for `escape` to look for: a root key, an abstract socket, a TCP port on localhost, a file. */
export async function canaries(): Promise<Canaries> {
  const program = await probeProgram();
  const name = `berth-canary-${basename(tmpdir())}`;
  const directory = mkdtempSync(join(tmpdir(), "canary-"));
  const file = join(directory, "secret");
  writeFileSync(file, "outside\n", { mode: 0o644 });
  const key = parseProbe(execFileSync(program, ["add-key", name, "secret"], { encoding: "utf8" }), "add-key");
  const serial = String(key["serial"]);
  const abstract = await listen(`\0${name}`);
  const loopback = await listen(0);
  const address = loopback.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    env: {
      PROBE_HOST_NS: HOST_NAMESPACES.map((kind) => readlinkSync(`/proc/self/ns/${kind}`)).join(" "),
      PROBE_HOST_KEY: serial,
      PROBE_HOST_KEY_NAME: name,
      PROBE_HOST_SOCKET: name,
      PROBE_HOST_PORT: String(port),
      PROBE_HOST_FILE: file,
    },
    async [Symbol.asyncDispose]() {
      rmSync(directory, { recursive: true });
      execFileSync(program, ["remove-key", serial]);
      await Promise.all([abstract, loopback].map((server) => new Promise((closed) => server.close(closed))));
    },
  };
}

function listen(where: string | number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy()).once("error", reject);
    const done = () => resolve(server);
    if (typeof where === "number") server.listen(where, "127.0.0.1", done);
    else server.listen(where, done);
  });
}
