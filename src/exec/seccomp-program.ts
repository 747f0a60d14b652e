import { constants } from "node:os";
import type { ArgumentRule, ArgumentTest, SeccompPolicy } from "../plan/seccomp-policy.ts";

/**
 * Assembles a policy into the classic BPF program the kernel runs at each system call (linux/filter.h,
 * linux/seccomp.h; the kernel's Documentation/userspace-api/seccomp_filter.rst).
 *
 * Why not libseccomp's own compiler: it tests number by number, which makes 1500 instructions of a default policy,
 * 20 ms of compiling, and in the kernel 53 kB for each running machine and 0.5 ms at each start (measured). Calls
 * with equal verdicts are mostly neighbours, so a search over ranges of numbers needs a fifth of that. It also
 * applies rules about socket's arguments to i386's socketcall, whose arguments are something else.
 */

/** AUDIT_ARCH_* of linux/audit.h: what the kernel puts into seccomp_data.arch. x32's numbers are its only mark. */
const AUDIT_ARCH: ReadonlyMap<string, number> = new Map([
  ["x86_64", 0xc000_003e],
  ["x32", 0xc000_003e],
  ["x86", 0x4000_0003],
  ["aarch64", 0xc000_00b7],
  ["arm", 0x4000_0028],
]);

/** The numbers of those of `names` that `arch` has: sys/libseccomp.ts, or a table in a test. */
export type NumberCalls = (arch: string, names: readonly string[]) => ReadonlyMap<string, number>;

/** Size of struct sock_filter: u16 code, u8 jump if true, u8 jump if false, u32 operand. */
export const INSTRUCTION_SIZE = 8;
/** BPF_MAXINSNS: the kernel takes no longer program. */
export const MAX_INSTRUCTIONS = 4096;

/** The program as an array of struct sock_filter, for seccomp(2). */
export function assembleFilter(policy: Omit<SeccompPolicy, "key">, numberCalls: NumberCalls): Buffer {
  const program = new Program();
  const unknown: Verdict = { action: errnoAction(policy.defaultAction), rules: NO_RULES };
  let next = program.verdict(unknown.action);
  for (const [auditArch, verdicts] of verdictsByArch(policy, numberCalls)) {
    const search = program.search(rangesOf(verdicts, unknown));
    next = program.branch(JUMP_IF_EQUAL, auditArch, program.load(NUMBER, search), next);
  }
  program.load(ARCH, next);
  return program.bytes();
}

/** What becomes of one call: `action` unless one of `rules` matches its arguments. */
interface Verdict {
  readonly action: number;
  readonly rules: readonly ArgumentRule[];
}

const ALLOW = 0x7fff_0000; // SECCOMP_RET_ALLOW
const NO_RULES: readonly ArgumentRule[] = [];

/** SECCOMP_RET_ERRNO. The values of Node's table are this host's, and all our architectures share these few. */
function errnoAction(errno: ArgumentRule["errno"] | "ENOSYS"): number {
  return 0x0005_0000 | (errno === "done" ? 0 : constants.errno[errno]);
}

/** For each value of seccomp_data.arch the calls that do not get the default, by number. */
function verdictsByArch(
  policy: Omit<SeccompPolicy, "key">,
  numberCalls: NumberCalls,
): Map<number, Map<number, Verdict>> {
  const refused = { action: errnoAction("EPERM"), rules: NO_RULES };
  const allowed = { action: ALLOW, rules: NO_RULES };
  const byArch = new Map<number, Map<number, Verdict>>();
  for (const arch of policy.archs) {
    const auditArch = AUDIT_ARCH.get(arch);
    if (auditArch === undefined) throw new Error(`no audit architecture for ${arch}`);
    const verdicts = byArch.get(auditArch) ?? new Map<number, Verdict>();
    byArch.set(auditArch, verdicts);
    for (const number of numberCalls(arch, policy.refuse).values()) verdicts.set(number, refused);
    for (const [call, number] of numberCalls(arch, policy.allow)) {
      const rules = policy.rules.filter((rule) => rule.call === call);
      verdicts.set(number, rules.length === 0 ? allowed : { action: ALLOW, rules });
    }
  }
  return byArch;
}

/** All numbers from `from` to the next range's get `verdict`. */
interface Range {
  readonly from: number;
  readonly verdict: Verdict;
}

/** The whole of 0 to 2^32-1 as ranges of equal verdicts, in order. */
function rangesOf(verdicts: ReadonlyMap<number, Verdict>, otherwise: Verdict): readonly Range[] {
  const ranges: Range[] = [{ from: 0, verdict: otherwise }];
  const add = (from: number, verdict: Verdict): void => {
    // The call right before ended its range here, with the default from here on.
    if (ranges.at(-1)?.from === from) ranges.pop();
    if (ranges.at(-1)?.verdict !== verdict) ranges.push({ from, verdict });
  };
  for (const [number, verdict] of [...verdicts].sort(([a], [b]) => a - b)) {
    add(number, verdict);
    add(number + 1, otherwise);
  }
  return ranges;
}

// Instruction codes of linux/bpf_common.h; all operate on 32-bit words and the operand k.
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_BITS = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP_IF_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data. An argument has 64 bits, its low half comes first on our architectures.
const NUMBER = 0;
const ARCH = 4;
const argument = (index: number): number => 16 + 8 * index;

/** Furthest a conditional jump reaches: its distances have 8 bits. */
const REACH = 255;

/** An instruction, counted from the program's end, so that the number stays while more is put in front of it. */
type Place = number;

/**
 * A program that is written from its end: all jumps go forward, so their targets are known when they are written,
 * and what already stands within reach is used again.
 */
class Program {
  readonly #backwards: Buffer[] = [];
  readonly #written = new Map<string, Place>();

  bytes(): Buffer {
    return Buffer.concat(this.#backwards.toReversed());
  }

  /** Finds the range that the number loaded before falls into, and gives its verdict. */
  search(ranges: readonly Range[]): Place {
    const middle = ranges[ranges.length >> 1];
    if (middle === undefined) throw new Error("no ranges");
    if (ranges.length === 1) return this.verdict(middle.verdict.action, middle.verdict.rules);
    const upper = this.search(ranges.slice(ranges.length >> 1));
    const lower = this.search(ranges.slice(0, ranges.length >> 1));
    return this.branch(JUMP_IF_AT_LEAST, middle.from, upper, lower);
  }

  verdict(action: number, rules: readonly ArgumentRule[] = NO_RULES): Place {
    return this.#shared(JSON.stringify([action, rules]), () => {
      const [rule, ...others] = rules;
      if (rule === undefined) return this.#write(RETURN, 0, 0, action);
      const miss = this.verdict(action, others);
      const hit = this.verdict(errnoAction(rule.errno));
      return rule.args.reduceRight(
        (matched, test) => this.load(argument(test.index), this.#test(test, matched, miss)),
        hit,
      );
    });
  }

  /** Of an argument that was loaded before. */
  #test(test: ArgumentTest, matched: Place, miss: Place): Place {
    if ("value" in test) return this.branch(JUMP_IF_EQUAL, test.value, matched, miss);
    if ("anyBit" in test) return this.branch(JUMP_IF_BITS, test.anyBit, matched, miss);
    return test.noneOf.reduceRight((others, value) => this.branch(JUMP_IF_EQUAL, value, miss, others), matched);
  }

  load(offset: number, then: Place): Place {
    this.#fallInto(then);
    return this.#write(LOAD, 0, 0, offset);
  }

  branch(code: number, operand: number, yes: Place, no: Place): Place {
    const nearYes = this.#near(yes);
    const nearNo = this.#near(no);
    return this.#write(code, this.#distance(nearYes), this.#distance(nearNo), operand);
  }

  /** What `write` writes, or its earlier copy if a conditional jump written next can still reach it. */
  #shared(key: string, write: () => Place): Place {
    const earlier = this.#written.get(key);
    if (earlier !== undefined && this.#distance(earlier) < REACH) return earlier;
    const place = write();
    this.#written.set(key, place);
    return place;
  }

  /**
   * `place`, or a jump to it where a conditional jump can't reach it. One short of the limit, since the detour of
   * a branch's other target may come between.
   */
  #near(place: Place): Place {
    return this.#distance(place) < REACH ? place : this.#jump(place);
  }

  #fallInto(place: Place): void {
    if (this.#distance(place) > 0) this.#jump(place);
  }

  #jump(place: Place): Place {
    return this.#write(JUMP, 0, 0, this.#distance(place));
  }

  /** Instructions to skip from the next one written to `place`. */
  #distance(place: Place): number {
    return this.#backwards.length - 1 - place;
  }

  #write(code: number, ifTrue: number, ifFalse: number, operand: number): Place {
    const instruction = Buffer.alloc(INSTRUCTION_SIZE);
    instruction.writeUInt16LE(code, 0);
    instruction.writeUInt8(ifTrue, 2);
    instruction.writeUInt8(ifFalse, 3);
    instruction.writeUInt32LE(operand, 4);
    return this.#backwards.push(instruction) - 1;
  }
}
