import { expect, test } from "vitest";
import { assembleFilter, MAX_INSTRUCTIONS } from "../../../src/exec/seccomp-program.ts";
import { type SeccompPolicy, seccompPolicy } from "../../../src/plan/seccomp-policy.ts";
import { filtering } from "../../lib/filtering.ts";

const X86_64 = 0xc000003e;
const I386 = 0x40000003;
const X32_BIT = 0x40000000;

/** What the kernel does with a program, for the few instructions we use. Throws where the kernel would refuse it. */
function run(program: Buffer, arch: number, number: number, args: readonly bigint[] = []): string {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((arg, i) => {
    data.writeBigUInt64LE(arg, 16 + 8 * i);
  });
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const operand = program.readUInt32LE(8 * at + 4);
    switch (program.readUInt16LE(8 * at)) {
      case 0x20:
        accumulator = data.readUInt32LE(operand);
        break;
      case 0x05:
        at += operand;
        break;
      case 0x15:
        at += program.readUInt8(8 * at + (accumulator === operand ? 2 : 3));
        break;
      case 0x35:
        at += program.readUInt8(8 * at + (accumulator >= operand ? 2 : 3));
        break;
      case 0x45:
        at += program.readUInt8(8 * at + ((accumulator & operand) !== 0 ? 2 : 3));
        break;
      case 0x06:
        if (operand === 0x7fff0000) return "allow";
        return (
          { 327680: "done", 327681: "EPERM", 327718: "ENOSYS", 327777: "EAFNOSUPPORT" }[operand] ??
          `0x${operand.toString(16)}`
        );
      default:
        throw new Error(`instruction ${at} is unknown`);
    }
  }
}

function policy(part: Partial<SeccompPolicy>): SeccompPolicy {
  return { ...seccompPolicy(filtering(), [], "x64"), ...part };
}

/** Call `cN` has number N, on x32 with its bit. */
function numbered(arch: string, names: readonly string[]): ReadonlyMap<string, number> {
  return new Map(names.map((name) => [name, Number(name.slice(1)) + (arch === "x32" ? X32_BIT : 0)]));
}

test.each([
  ["runs of equal verdicts", (n: number) => n % 40 < 25, (n: number) => n % 40 >= 35],
  ["neighbours that all differ, so that jumps get long", (n: number) => n % 3 === 0, (n: number) => n % 3 === 1],
  ["nothing known", () => false, () => false],
  ["everything allowed", () => true, () => false],
])("each number gets its verdict on each architecture: %s", (_, allowed, refused) => {
  const names = Array.from({ length: 500 }, (__, n) => `c${n}`);
  const allow = names.filter((_name, n) => allowed(n));
  const refuse = names.filter((_name, n) => refused(n));
  const program = assembleFilter(policy({ allow, refuse, rules: [] }), numbered);
  expect(program.length / 8).toBeLessThanOrEqual(MAX_INSTRUCTIONS);
  for (const [arch, bit] of [
    [X86_64, 0],
    [X86_64, X32_BIT],
    [I386, 0],
  ] as const) {
    for (let n = 0; n < 520; n++) {
      const expected = n < 500 && allowed(n) ? "allow" : n < 500 && refused(n) ? "EPERM" : "ENOSYS";
      expect(run(program, arch, bit + n), `${n} of ${arch.toString(16)}`).toBe(expected);
    }
  }
  expect(run(program, X86_64, 0xffffffff)).toBe("ENOSYS");
});

test("neighbours with one verdict are one range, however many they are", () => {
  const program = (calls: number): number => {
    const allow = Array.from({ length: calls }, (_, n) => `c${n}`);
    return assembleFilter(policy({ allow, refuse: [], rules: [] }), numbered).length / 8;
  };
  expect(program(500)).toBe(program(1));
  expect(program(1)).toBeLessThan(20);
});

test("another architecture's calls get the default", () => {
  const program = assembleFilter(policy({ allow: ["c1"], refuse: [], rules: [] }), numbered);
  expect(run(program, X86_64, 1)).toBe("allow");
  expect(run(program, 0xc00000b7, 1)).toBe("ENOSYS");
});

test("rules look at the low half of all their arguments, whatever surrounds their call", () => {
  const names = Array.from({ length: 300 }, (_, n) => `c${n}`);
  const program = assembleFilter(
    policy({
      allow: names.filter((_, n) => n % 2 === 0),
      refuse: names.filter((_, n) => n % 2 === 1),
      rules: [
        { call: "c16", errno: "EPERM", args: [{ index: 1, value: 0x5412 }] },
        { call: "c16", errno: "EPERM", args: [{ index: 1, value: 0x541c }] },
        {
          call: "c298",
          errno: "EAFNOSUPPORT",
          args: [
            { index: 0, value: 16 },
            { index: 2, value: 9 },
          ],
        },
        { call: "c17", errno: "EAFNOSUPPORT", args: [{ index: 0, value: 1 }] },
      ],
    }),
    numbered,
  );
  const high = 0xffffffff00000000n;
  for (const [arch, bit] of [
    [X86_64, 0],
    [X86_64, X32_BIT],
    [I386, 0],
  ] as const) {
    const verdict = (n: number, ...args: bigint[]) => run(program, arch, bit + n, args);
    expect(verdict(16, 0n, 0x5412n)).toBe("EPERM");
    expect(verdict(16, 0n, 0x541cn)).toBe("EPERM");
    expect(verdict(16, 0n, high | 0x5412n)).toBe("EPERM");
    expect(verdict(16, 0n, 0x5413n)).toBe("allow");
    expect(verdict(16, 0x5412n, 0n)).toBe("allow");
    expect(verdict(298, 16n, 3n, 9n)).toBe("EAFNOSUPPORT");
    expect(verdict(298, high | 16n, 3n, high | 9n)).toBe("EAFNOSUPPORT");
    expect(verdict(298, 16n, 9n, 0n)).toBe("allow");
    expect(verdict(298, 1n, 3n, 9n)).toBe("allow");
    // A rule never turns a refused call into anything else.
    expect(verdict(17, 1n)).toBe("EPERM");
  }
});

test("a rule may want any of some bits, none of some values, or nothing at all", () => {
  const allow = ["c1", "c2", "c3", "c4"];
  const program = assembleFilter(
    policy({
      allow,
      refuse: [],
      rules: [
        { call: "c1", errno: "EPERM", args: [{ index: 2, anyBit: 0x1000 }] },
        { call: "c2", errno: "EAFNOSUPPORT", args: [{ index: 0, noneOf: [1, 5, 9] }] },
        { call: "c3", errno: "EAFNOSUPPORT", args: [{ index: 0, noneOf: [] }] },
        { call: "c4", errno: "done", args: [] },
      ],
    }),
    numbered,
  );
  const verdict = (n: number, ...args: bigint[]) => run(program, X86_64, n, args);
  expect([0n, 0xfffn, 0x1000n, 0x101001n].map((bits) => verdict(1, 0n, 0n, bits))).toEqual([
    "allow",
    "allow",
    "EPERM",
    "EPERM",
  ]);
  expect([1n, 5n, 9n, 2n].map((value) => verdict(2, value))).toEqual(["allow", "allow", "allow", "EAFNOSUPPORT"]);
  expect(verdict(3, 1n)).toBe("EAFNOSUPPORT");
  expect(verdict(4)).toBe("done");
});
