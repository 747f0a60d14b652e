/**
 * Reads a program image back, after stage.c alone (struct image, op, program): nothing of the assembler is used here,
 * so that the two prove each other.
 *
 *   const image = new DecodedImage(compiled.image);
 *   image.header.keeper.ops[0]          // { number, args, low, high, tolerated, registers, target, guard, at }
 *   image.text(op.args[1])              // the string an argument points to
 *   image.programs()                    // all that can be reached from the header
 */

import { type HostFds, numberFds } from "../../../src/exec/host-fds.ts";
import type { LaunchPlan } from "../../../src/plan/step.ts";
import type { Image } from "../../../src/stage/assembler.ts";

export const BASE = 0x200000000n;
/** Operations that start another program. */
export const SPAWN = -1n;
export const BECOME = -5n;

export interface DecodedOp {
  /** Address of the operation. */
  readonly at: bigint;
  readonly number: bigint;
  readonly args: readonly bigint[];
  readonly low: bigint;
  readonly high: bigint;
  readonly tolerated: bigint;
  readonly registers: number;
  readonly target: number;
  readonly guard: number;
}

export interface DecodedProgram {
  readonly at: bigint;
  readonly who: bigint;
  readonly lenient: boolean;
  readonly ops: readonly DecodedOp[];
}

export interface Header {
  readonly magic: string;
  readonly size: bigint;
  readonly registers: bigint;
  readonly keeper: DecodedProgram;
  readonly init: DecodedProgram;
  readonly commit: DecodedProgram;
  readonly undo: DecodedProgram;
  readonly end: DecodedProgram;
  readonly foreground: bigint;
  readonly alarm: bigint;
  /** RECORD, DIRECTORY, LOG, MIRROR, NAME_LOCK, NOTIFY, RENDEZVOUS */
  readonly given: readonly bigint[];
  readonly free: bigint;
  /** The fd of the whole image, -1: it is this one. */
  readonly whole: bigint;
  readonly carried: bigint;
  /** pid, leader, master, slave, root, self: numbers of registers. */
  readonly numbers: readonly bigint[];
  readonly logLimit: bigint;
  readonly resident: bigint;
}

export class DecodedImage {
  readonly image: Image;
  readonly header: Header;

  constructor(image: Image) {
    this.image = image;
    const word = (index: number): bigint => this.word(BASE + BigInt(index * 8));
    const words = (from: number, count: number): bigint[] => Array.from({ length: count }, (_, k) => word(from + k));
    const magic = Buffer.alloc(8);
    magic.writeBigInt64LE(word(0));
    this.header = {
      magic: magic.toString("latin1"),
      size: word(1),
      registers: word(2),
      keeper: this.program(word(3)),
      init: this.program(word(4)),
      commit: this.program(word(5)),
      undo: this.program(word(6)),
      end: this.program(word(7)),
      foreground: word(8),
      alarm: word(9),
      given: words(10, 7),
      free: word(17),
      whole: word(18),
      carried: word(19),
      numbers: words(20, 6),
      logLimit: word(26),
      resident: word(27),
    };
  }

  /** Bytes at an absolute address; what no part holds is a hole of zeros. */
  bytes(address: bigint, length: number): Buffer {
    const from = Number(address - BASE);
    if (from < 0 || from + length > this.image.size)
      throw new Error(`0x${address.toString(16)} is outside of the image`);
    const found = Buffer.alloc(length);
    for (const { offset, bytes } of this.image.parts) {
      const [start, end] = [Math.max(from, offset), Math.min(from + length, offset + bytes.length)];
      if (start < end) bytes.copy(found, start - from, start - offset, end - offset);
    }
    return found;
  }

  word(address: bigint): bigint {
    return this.bytes(address, 8).readBigInt64LE();
  }

  /** The NUL-terminated string at an address. */
  text(address: bigint | undefined): string {
    if (address === undefined) throw new Error("no such argument");
    let length = 0;
    while (this.bytes(address + BigInt(length), 1)[0] !== 0) length++;
    return this.bytes(address, length).toString("utf8");
  }

  /** A NULL-terminated array of strings. */
  texts(address: bigint | undefined): string[] {
    const found: string[] = [];
    for (let at = address ?? 0n; this.word(at) !== 0n; at += 8n) found.push(this.text(this.word(at)));
    return found;
  }

  program(at: bigint): DecodedProgram {
    const length = Number(this.word(at + 16n));
    const ops = Array.from({ length }, (_, index) => this.#op(at + 24n + BigInt(index * 96)));
    return { at, who: this.word(at), lenient: this.word(at + 8n) !== 0n, ops };
  }

  #op(at: bigint): DecodedOp {
    const bytes = this.bytes(at, 96);
    return {
      at,
      number: bytes.readBigInt64LE(0),
      args: [0, 1, 2, 3, 4, 5].map((k) => bytes.readBigInt64LE(8 + k * 8)),
      low: bytes.readBigInt64LE(56),
      high: bytes.readBigInt64LE(64),
      tolerated: bytes.readBigInt64LE(72),
      registers: bytes.readUInt32LE(80),
      target: bytes.readInt32LE(84),
      guard: bytes.readInt32LE(88),
    };
  }

  /** The header's programs and those that their operations start, by address. */
  programs(): DecodedProgram[] {
    const found = new Map<bigint, DecodedProgram>();
    const open = [this.header.keeper, this.header.commit, this.header.undo, this.header.end];
    for (let program = open.pop(); program !== undefined; program = open.pop()) {
      if (found.has(program.at)) continue;
      found.set(program.at, program);
      for (const op of program.ops)
        if ([SPAWN, BECOME].includes(op.number)) open.push(this.program(op.args[2] as bigint));
    }
    return [...found.values()];
  }

  /** An argument of an operation that is a plain value, not a register's number. */
  plain(op: DecodedOp, index: number): bigint | undefined {
    return (op.registers >> index) & 1 ? undefined : op.args[index];
  }

  isAddress(value: bigint): boolean {
    return value >= BASE && value < BASE + this.header.size;
  }
}

/** Numbers for the fds that a plan's host steps would hand to the stage, in the order they get their names. */
export function handedFds(plan: LaunchPlan): HostFds {
  const names: string[] = [];
  for (const step of plan.steps) {
    if (step.kind === "hand-over") break;
    if (step.kind === "lock-name") names.push("name-lock");
    if (step.kind === "claim-range") names.push("lock:range");
    if (step.kind === "lock-tree") names.push("lock:tree");
    if (step.kind === "lock-use") names.push(`lock:${step.args.path}`);
    if (step.kind === "make-record") names.push("directory", "record", "log");
    if (step.kind === "notify-socket" || step.kind === "rendezvous") names.push(step.kind);
    if (step.kind === "open-namespaces")
      names.push(...step.args.namespaces.map((namespace) => `${namespace}-namespace`));
    if (step.kind === "hold-machine") names.push("machine", "cgroup");
    if (step.phase === "host" && "fd" in step.args && !["map-owners", "note-mount", "check-mount"].includes(step.kind))
      names.push(step.args.fd);
  }
  if (plan.steps.some(({ kind }) => kind === "take-whole")) names.push("whole");
  if (plan.steps.some((step) => step.kind === "stdio" && step.args.from === "caller"))
    names.push("stdio:0", "stdio:1", "stdio:2");
  return numberFds(names);
}
