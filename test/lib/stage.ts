/**
 * Runs the stage (src/stage) with programs made by hand, without a plan.
 *
 *   const run = stage({ build: ({ asm, keeper }) => asm.call(keeper, "getpid", [], { accept: [1, 1] }) });
 *   await run.ended                     // { status, signal } of the stage
 *   run.reports()                       // [{ who, index, result }] that it has sent by now
 *   run.process.pid, run.fds, run.dispose()
 *
 * The fds of the stage have the numbers in FD. An fd in `fds` is given to it by name and stays the caller's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, writeSync } from "node:fs";
import { Assembler, type Image, Program, type Register } from "../../src/stage/assembler.ts";
import { MAGIC, SYNC, TITLE_SIZE } from "../../src/stage/stage-abi.ts";
import { SOCK_SEQPACKET } from "../../src/sys/constants.ts";
import { memfdCreate, truncateFd } from "../../src/sys/files.ts";
import { receive, sendWithFds, socketPair } from "../../src/sys/sockets.ts";
import { stageOf } from "./launch.ts";

/** Those of struct image, in its order, come last. */
const NAMES = ["status", "image", "keeper-end", "init-end"] as const;
const GIVEN = ["record", "directory", "log", "mirror", "name-lock", "notify-socket", "rendezvous"] as const;
export type Given = (typeof GIVEN)[number];
export const FD = Object.fromEntries([...NAMES, ...GIVEN].map((name, index) => [name, 3 + index])) as Readonly<
  Record<(typeof NAMES)[number] | Given, number>
>;

export interface Programs {
  readonly asm: Assembler;
  readonly keeper: Program;
  /** Whatever `keeper` spawns: who = 1 and 2. */
  readonly init: Program;
  readonly apivfs: Program;
  readonly commit: Program;
  readonly undo: Program;
  readonly end: Program;
  readonly registers: Readonly<Record<"pid" | "leader" | "master" | "slave" | "root" | "self", Register>>;
}

export interface StageOptions {
  readonly build: (programs: Programs) => void;
  readonly arch?: "x64" | "arm64";
  readonly fds?: Partial<Record<Given, number>>;
  readonly logLimit?: number;
  /** The machine ends when the host does. */
  readonly foreground?: boolean;
  /** Changes the image's bytes: `(offset, bytes)` of each part. */
  readonly spoil?: (parts: Image["parts"]) => void;
  /** argv that the stage's path is added to. */
  readonly under?: readonly string[];
}

export interface Report {
  readonly who: number;
  readonly index: number;
  readonly result: number;
}

export interface StageRun extends Disposable {
  readonly process: ChildProcess;
  readonly ended: Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null; output: string }>;
  /** Our end of the status socket. */
  readonly status: number;
  /** Closes it, as the death of the host does. */
  hangUp(): void;
  reports(): Report[];
  /** What else it has said: [first word, value, more] of the keeper's own messages. */
  said(): number[][];
}

const HEADER_WORDS = 28;

export function stage(options: StageOptions): StageRun {
  const { arch = process.arch === "arm64" ? "arm64" : "x64", fds = {}, under = [] } = options;
  const image = writeImage(handmade(options, arch));
  const [ours, status] = socketPair(SOCK_SEQPACKET);
  const [keeperEnd, initEnd] = socketPair(SOCK_SEQPACKET);
  const given = GIVEN.map((name) => fds[name]);
  const [program = "", ...words] = [...under, stageOf(arch)];
  const child = spawn(program, words, {
    argv0: program.padEnd(TITLE_SIZE - 1),
    stdio: ["ignore", "pipe", "pipe", status],
  });
  const present = given.filter((fd) => fd !== undefined);
  const message = Buffer.alloc(16 + TITLE_SIZE);
  message.writeBigUInt64LE(MAGIC, 0);
  message.writeBigUInt64LE(BigInt(3 + present.length), 8);
  message.write("berth-stage under test", 16);
  sendWithFds(ours, message, [image, keeperEnd, initEnd, ...present]);
  for (const fd of [image, status, keeperEnd, initEnd]) closeSync(fd);
  const heard: Report[] = [];
  let open = true;
  const hangUp = (): void => {
    if (open) closeSync(ours);
    open = false;
  };
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data) => (output += String(data)));
  const ended = new Promise<Awaited<StageRun["ended"]>>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode, signal) => resolve({ status: exitCode, signal, output }));
  });
  return {
    process: child,
    ended,
    status: ours,
    hangUp,
    reports: () => {
      heard.push(...receiveAll(ours));
      return heard.filter(({ who }) => who < SYNC);
    },
    said: () => {
      heard.push(...receiveAll(ours));
      return heard.filter(({ who }) => who >= SYNC).map(({ who, index, result }) => [who, index, result]);
    },
    [Symbol.dispose]() {
      child.kill("SIGKILL");
      hangUp();
    },
  };
}

/** Whole messages that are there now: {who, index, result}, three 64-bit words. */
function receiveAll(socket: number): Report[] {
  const reports: Report[] = [];
  for (let message = receive(socket); message !== null && message.data.length > 0; message = receive(socket)) {
    const { data } = message;
    if (data.length !== 24) throw new Error(`a report of ${data.length} bytes`);
    const [who, index, result] = [0, 8, 16].map((at) => Number(data.readBigInt64LE(at)));
    reports.push({ who: who ?? -1, index: index ?? -1, result: result ?? 0 });
  }
  return reports;
}

/** Only those that are given are handed over, so they have the numbers from the first one on. */
function numbered(fds: Partial<Record<Given, number>>): number[] {
  let next: number = FD.record;
  return GIVEN.map((name) => (fds[name] === undefined ? -1 : next++));
}

function handmade(
  { build, fds = {}, logLimit = 1 << 20, foreground = false, spoil }: StageOptions,
  arch: "x64" | "arm64",
): Image {
  const asm = new Assembler(arch, HEADER_WORDS * 8);
  const registers = {
    pid: asm.register(),
    leader: asm.register(),
    master: asm.register(),
    slave: asm.register(),
    root: asm.register(),
    self: asm.register(),
  };
  const [keeper, init, apivfs] = [new Program(0), new Program(1), new Program(2)];
  const [commit, undo, end] = [new Program(3, true), new Program(4, true), new Program(5, true, true)];
  build({ asm, keeper, init, apivfs, commit, undo, end, registers });
  const image = asm.finish({
    ...{ keeper, init, commit, undo, end, foreground, logLimit },
    ...{ alarm: FD["init-end"], given: numbered(fds), free: FD["keeper-end"], whole: -1, carried: 0 },
    numbers: Object.values(registers).map(({ register }) => register),
  });
  spoil?.(image.parts);
  return image;
}

function writeImage({ size, parts }: Image): number {
  const fd = memfdCreate("berth-test-image");
  truncateFd(fd, size);
  for (const { offset, bytes } of parts) writeSync(fd, bytes, 0, bytes.length, offset);
  return fd;
}

/** clone_args of clone3(2): a child that ends with SIGCHLD; its pidfd is left at `pidfd`. */
export function plainClone({ asm }: Programs) {
  const CLONE_PIDFD = 0x1000;
  const SIGCHLD = 17;
  const pidfd = asm.reserve(8);
  return { pidfd, args: asm.words([CLONE_PIDFD, pidfd, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]) };
}
