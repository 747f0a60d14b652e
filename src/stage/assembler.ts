import { BerthError } from "../errors.ts";
import type { SyscallName } from "../sys/syscall-numbers.ts";
import { syscallNumber } from "../sys/syscall-numbers.ts";
import { type Pointer, Segment, setAddress, setWord } from "./segment.ts";
import { HEADER_WORDS, MAGIC } from "./stage-abi.ts";

export type { Pointer } from "./segment.ts";

/**
 * Lays out the image that the stage runs (stage.c: struct image, program, op). Everything is a flat byte: strings,
 * structs and arrays are placed once, and pointers are their absolute addresses, since the stage maps the image at
 * a fixed one. Pure: no fd is opened and nothing is called here.
 */

/** Where in the image the part begins that is dropped once the machine runs. */
const TRANSIENT = 16 << 20;

export type Pseudo = "spawn" | "store" | "load" | "result" | "become" | "stay" | "match" | "turn";
const PSEUDO: Readonly<Record<Pseudo, number>> = {
  spawn: -1,
  store: -2,
  load: -3,
  result: -4,
  become: -5,
  stay: -6,
  match: -7,
  turn: -8,
};

/** The fields of struct image, which stage.c explains, but for those that the assembler knows itself. */
export interface ImageHeader {
  readonly keeper: Program;
  readonly init: Program;
  readonly commit: Program;
  readonly undo: Program;
  readonly end: Program;
  readonly foreground: boolean;
  readonly alarm: number;
  /** By KEPT_FDS; -1: there is none. */
  readonly given: readonly number[];
  readonly free: number;
  /** -1: this is the whole image. */
  readonly whole: number;
  readonly carried: number;
  /** Of the registers that hold pid, leader, master, slave, root and the keeper's own pid. */
  readonly numbers: readonly number[];
  readonly logLimit: number;
}

/** A register of the stage, filled by an operation; `name` is for messages. */
export interface Register {
  readonly register: number;
}
export type Argument = number | bigint | string | Register | Pointer | Program;

export interface CallOptions {
  /** Accepted results, both inclusive; by default any that is not an error. */
  readonly accept?: readonly [number, number];
  /** One errno that is fine too (its number). */
  readonly tolerate?: number;
  /** Any result is fine. */
  readonly lenient?: boolean;
  readonly into?: Register;
  /** Do it only if this register holds no error. */
  readonly onlyIf?: Register;
}

export interface Op {
  readonly number: number;
  /** For the report of a failure. */
  readonly name: SyscallName | Pseudo;
  readonly arguments: readonly Argument[];
  readonly options: CallOptions;
  /** Index of the plan's step this belongs to, -1: none. */
  readonly step: number;
}

/** What an operation was about, for a report: the strings among its arguments. */
export function subjectOf(op: Op): string {
  return op.arguments.filter((argument) => typeof argument === "string" && argument !== "").join(" ");
}

/** One program of the image: the ops of one actor, in order. */
export class Program {
  readonly who: number;
  readonly ops: Op[] = [];
  /** Clean-up: goes on after failures. */
  readonly lenient: boolean;
  /** Still needed when the machine has ended. */
  readonly resident: boolean;

  constructor(who: number, lenient = false, resident = false) {
    this.who = who;
    this.lenient = lenient;
    this.resident = resident;
  }
}

/** Operations in the place of others of a program, from one on. */
export interface Replaced {
  readonly program: Program;
  readonly from: number;
  readonly ops: readonly Op[];
}

const PROGRAM_HEAD = 24;
const OP_SIZE = 96;
export class Assembler {
  readonly #arch: "x64" | "arm64";
  readonly #resident = new Segment(0, 4 << 10);
  readonly #transient = new Segment(TRANSIENT, 48 << 10);
  readonly #strings = new Map<string, Pointer>();
  /** Of variants. */
  readonly #more = new Map<string, Pointer>();
  /** Bytes of the parts of the image as it was finished. */
  #finished: { readonly resident: number; readonly transient: number } | undefined;
  readonly #header: Pointer;
  readonly #placed = new Map<Program, Pointer>();
  #registers = 0;
  /** Step that the ops now emitted belong to. */
  step = -1;

  constructor(arch: "x64" | "arm64", headerSize: number) {
    this.#arch = arch;
    this.#header = this.#resident.reserve(headerSize);
  }

  /** How many there are so far. */
  get registers(): number {
    return this.#registers;
  }

  set registers(count: number) {
    this.#registers = count;
  }

  register(): Register {
    return { register: this.#registers++ };
  }

  /** Room of `size` zero bytes; `resident`: it is still there when the machine ends. */
  reserve(size: number, resident = false): Pointer {
    return (resident ? this.#resident : this.#transient).reserve(size);
  }

  /** Places bytes and returns where they are. */
  bytes(content: Uint8Array, resident = false): Pointer {
    const pointer = this.reserve(content.length, resident);
    const segment = this.#segment(pointer);
    segment.bytes.set(content, pointer.at - segment.start);
    return pointer;
  }

  /** A NUL-terminated string, placed once however often it is used. */
  string(text: string, resident = false): Pointer {
    const key = resident ? `\0${text}` : text;
    let pointer = this.#strings.get(key) ?? this.#more.get(key);
    if (pointer === undefined) {
      if (text.includes("\0"))
        throw new Error(`a string with a NUL byte can't be passed to the kernel: ${JSON.stringify(text)}`);
      pointer = this.reserve(Buffer.byteLength(text) + 1, resident);
      const segment = this.#segment(pointer);
      segment.bytes.write(text, pointer.at - segment.start);
      (this.#finished === undefined ? this.#strings : this.#more).set(key, pointer);
    }
    return pointer;
  }

  /** A struct of 64-bit little-endian fields. */
  words(values: readonly (number | bigint | Pointer)[]): Pointer {
    const pointer = this.reserve(values.length * 8);
    values.forEach((value, index) => {
      this.poke(pointer, index * 8, value);
    });
    return pointer;
  }

  /** A NULL-terminated array of strings: argv or envp. */
  stringArray(values: readonly string[]): Pointer {
    return this.words([...values.map((value) => this.string(value)), 0]);
  }

  /** Writes a 64-bit value into placed memory. */
  poke(pointer: Pointer, offset: number, value: number | bigint | Pointer): void {
    const segment = this.#segment(pointer);
    if (typeof value === "object") segment.setAddress(pointer.at + offset, value);
    else segment.setWord(pointer.at + offset, value);
  }

  call(program: Program, name: SyscallName, args: readonly Argument[], options: CallOptions = {}): void {
    this.#emit(program, syscallNumber(name, this.#arch), name, args, options);
  }

  pseudo(program: Program, name: Pseudo, args: readonly Argument[], options: CallOptions = {}): void {
    this.#emit(program, PSEUDO[name], name, args, options);
  }

  #emit(program: Program, number: number, name: Op["name"], args: readonly Argument[], options: CallOptions): void {
    program.ops.push({ number, name, arguments: args, options, step: this.step });
  }

  /** The finished image. */
  finish(header: ImageHeader): Image {
    const registers = this.#resident.reserve(this.#registers * 8);
    for (let index = 0; index < this.#registers; index++) this.poke(registers, index * 8, -1);
    const { keeper, init, commit, undo, end, foreground, alarm, given, free, whole, carried, numbers } = header;
    const programs = [keeper, init, commit, undo, end].map((program) => this.#place(program));
    const fds = [alarm, ...given, free, whole];
    const fields = [registers, ...programs, foreground ? 1 : 0, ...fds, carried, ...numbers, header.logLimit];
    [MAGIC, 0, ...fields].forEach((field, index) => {
      this.poke(this.#header, index * 8, field);
    });
    this.#finished = { resident: this.#resident.used, transient: this.#transient.used };
    return this.image();
  }

  /** Begins a variant of the finished image: what the last one has placed is taken back. Its operations are the last one's until they are replaced. */
  beginVariant(): void {
    if (this.#finished === undefined) throw new Error("there is nothing to vary");
    this.#resident.rewind(this.#finished.resident);
    this.#transient.rewind(this.#finished.transient);
    this.#more.clear();
  }

  replace({ program, from, ops }: Replaced): void {
    const start = this.#placed.get(program);
    if (start === undefined) throw new Error(`program ${program.who} is not there`);
    const words = new Int32Array((ops.length * OP_SIZE) / 4);
    ops.forEach((op, index) => {
      this.#encode(op, words, (index * OP_SIZE) / 4, program.resident);
    });
    const pointer = { at: start.at + PROGRAM_HEAD + from * OP_SIZE };
    this.#segment(pointer).put(pointer, words);
  }

  /** The finished image, or the variant of it: until the next one is begun. */
  image(): Image {
    if (this.#resident.used > TRANSIENT)
      throw new BerthError("the machine has too many bind mounts for one start", {
        hint: "bind a directory that holds them, with its submounts",
      });
    const size = TRANSIENT + this.#transient.used;
    this.poke(this.#header, 8, size);
    this.poke(this.#header, (HEADER_WORDS - 1) * 8, (this.#resident.used + 4095) & ~4095);
    const parts = [
      { offset: 0, bytes: this.#resident.bytes.subarray(0, this.#resident.used) },
      { offset: TRANSIENT, bytes: this.#transient.bytes.subarray(0, this.#transient.used) },
    ];
    return { size, parts };
  }

  #place(program: Program): Pointer {
    const pointer = this.#placed.get(program) ?? this.#program(program);
    this.#placed.set(program, pointer);
    return pointer;
  }

  /** A resident program keeps its strings with it. */
  #program(program: Program): Pointer {
    const { resident, ops } = program;
    const pointer = this.reserve(PROGRAM_HEAD + ops.length * OP_SIZE, resident);
    // Plain loops over plain memory: a daemon's code is not optimized, and this is a tenth of a start.
    const words = new Int32Array(6 + (ops.length * OP_SIZE) / 4);
    [words[0], words[2], words[4]] = [program.who, program.lenient ? 1 : 0, ops.length];
    let at = PROGRAM_HEAD / 4;
    for (const op of ops) {
      this.#encode(op, words, at, resident);
      at += OP_SIZE / 4;
    }
    this.#segment(pointer).put(pointer, words);
    return pointer;
  }

  /** At a place in zeros. */
  #encode({ number, arguments: args, options }: Op, words: Int32Array, at: number, resident: boolean): void {
    let registers = 0;
    let to = at + 2;
    for (const argument of args) {
      if (typeof argument === "number" || typeof argument === "bigint") setWord(words, to, argument);
      else if (typeof argument === "string") setAddress(words, to, this.string(argument, resident));
      else if (argument instanceof Program) setAddress(words, to, this.#place(argument));
      else if ("register" in argument) {
        registers |= 1 << ((to - at - 2) >> 1);
        words[to] = argument.register;
      } else setAddress(words, to, argument);
      to += 2;
    }
    const { accept, lenient, tolerate, into, onlyIf } = options;
    setWord(words, at, number);
    if (accept !== undefined && lenient !== true) {
      setWord(words, at + 14, accept[0]);
      setWord(words, at + 16, accept[1]);
    } else {
      if (lenient === true) setWord(words, at + 14, -4095);
      words[at + 16] = -1;
      words[at + 17] = 0x1fffff; // the largest number there is
    }
    if (tolerate !== undefined) words[at + 18] = tolerate;
    words[at + 20] = registers;
    words[at + 21] = into === undefined ? -1 : into.register;
    words[at + 22] = onlyIf === undefined ? -1 : onlyIf.register;
  }

  #segment(pointer: Pointer): Segment {
    return this.#resident.holds(pointer) ? this.#resident : this.#transient;
  }
}

export interface Image {
  /** Bytes the stage maps; most of them are a hole. */
  readonly size: number;
  readonly parts: readonly { readonly offset: number; readonly bytes: Buffer }[];
}
