import { describe, expect, test } from "vitest";
import { Assembler, Program } from "../../../src/stage/assembler.ts";
import { BASE, DecodedImage } from "../exec/image.ts";

const HEADER_WORDS = 28;

/** An image whose keeper program is `program`, the others empty. */
function imageOf(build: (asm: Assembler, keeper: Program, end: Program) => void): DecodedImage {
  const asm = new Assembler("x64", HEADER_WORDS * 8);
  const [keeper, init, commit, undo, end] = [
    new Program(0),
    new Program(1),
    new Program(3, true),
    new Program(4, true),
    new Program(5, true, true),
  ];
  build(asm, keeper, end);
  const image = asm.finish({
    ...{ keeper, init, commit, undo, end, foreground: true, alarm: 11, given: [20, 21, 22, 23, 24, 25, -1] },
    ...{ free: 19, whole: 12, carried: 8, numbers: [0, 1, 2, 3, 4, 5], logLimit: 4096 },
  });
  return new DecodedImage(image);
}

describe("the header", () => {
  test("is struct image of stage.c", () => {
    const { header } = imageOf((asm) => asm.register());
    expect(header).toMatchObject({
      magic: "Vberth04",
      foreground: 1n,
      alarm: 11n,
      given: [20n, 21n, 22n, 23n, 24n, 25n, -1n],
      free: 19n,
      whole: 12n,
      carried: 8n,
      numbers: [0n, 1n, 2n, 3n, 4n, 5n],
      logLimit: 4096n,
    });
    expect(
      [header.keeper, header.init, header.commit, header.undo, header.end].map(({ who, lenient }) => [who, lenient]),
    ).toEqual([
      [0n, false],
      [1n, false],
      [3n, true],
      [4n, true],
      [5n, true],
    ]);
  });

  test("gives the size of the file, in which the parts lie apart, and ends the resident part on a page", () => {
    const { header, image } = imageOf((asm) => asm.bytes(Buffer.alloc(100)));
    expect(header.size).toBe(BigInt(image.size));
    const [resident, transient] = image.parts;
    expect(resident?.offset).toBe(0);
    expect(Number(header.resident) % 4096).toBe(0);
    expect(resident?.bytes.length).toBeLessThanOrEqual(Number(header.resident));
    expect(transient?.offset).toBeGreaterThanOrEqual(Number(header.resident));
    expect((transient?.offset ?? 0) + (transient?.bytes.length ?? 0)).toBe(image.size);
  });
});

test("registers begin as -1, in the resident part", () => {
  const image = imageOf((asm) => {
    for (let count = 0; count < 7; count++) asm.register();
  });
  const { registers, resident } = image.header;
  expect(registers + 7n * 8n).toBeLessThanOrEqual(BASE + resident);
  for (let index = 0n; index < 7n; index++) expect(image.word(registers + index * 8n)).toBe(-1n);
});

describe("an operation", () => {
  test("has its number, arguments, strings, accepted results, errno, target and guard", () => {
    const image = imageOf((asm, keeper) => {
      const [dir, fd, guard] = [asm.register(), asm.register(), asm.register()];
      asm.call(keeper, "openat", [dir, "/etc/ho st", -7, 0xffffffff, 2n ** 63n], {
        accept: [-3, 2 ** 40],
        tolerate: 17,
        into: fd,
        onlyIf: guard,
      });
    });
    const [op] = image.header.keeper.ops;
    expect(op).toMatchObject({
      number: 257n,
      low: -3n,
      high: 2n ** 40n,
      tolerated: 17n,
      registers: 0b1,
      target: 1,
      guard: 2,
    });
    expect(image.text(op?.args[1])).toBe("/etc/ho st");
    expect(op?.args).toEqual([0n, op?.args[1], -7n, 0xffffffffn, -(2n ** 63n), 0n]);
  });

  test("accepts by default what is no error, and stores nothing, unguarded", () => {
    const [op] = imageOf((asm, keeper) => asm.call(keeper, "setsid", [])).header.keeper.ops;
    expect(op).toMatchObject({
      low: 0n,
      high: BigInt(Number.MAX_SAFE_INTEGER),
      tolerated: 0n,
      registers: 0,
      target: -1,
      guard: -1,
    });
  });

  test("that is lenient accepts every errno", () => {
    const [op] = imageOf((asm, keeper) => asm.call(keeper, "setfsuid", [0], { lenient: true })).header.keeper.ops;
    expect(op?.low).toBe(-4095n);
  });

  test.each([
    ["spawn", -1n],
    ["store", -2n],
    ["load", -3n],
    ["result", -4n],
    ["become", -5n],
  ] as const)("%s is no system call", (name, number) => {
    const [op] = imageOf((asm, keeper) => asm.pseudo(keeper, name, [1])).header.keeper.ops;
    expect(op?.number).toBe(number);
  });
});

describe("pointers", () => {
  test("are absolute: strings, structs, arrays of strings and programs", () => {
    const image = imageOf((asm, keeper) => {
      const child = new Program(1);
      asm.call(child, "umask", [0o22]);
      asm.pseudo(keeper, "spawn", [asm.words([1, -1, 2n ** 40n, asm.string("in a struct")]), 88, child]);
      asm.call(keeper, "execve", ["/bin/sh", asm.stringArray(["sh", "", "-c"]), asm.stringArray([])]);
    });
    const [spawn, execve] = image.header.keeper.ops;
    const struct = spawn?.args[0] ?? 0n;
    expect([0n, 8n, 16n].map((offset) => image.word(struct + offset))).toEqual([1n, -1n, 2n ** 40n]);
    expect(image.text(image.word(struct + 24n))).toBe("in a struct");
    expect(image.texts(execve?.args[1])).toEqual(["sh", "", "-c"]);
    expect(image.texts(execve?.args[2])).toEqual([]);
    const child = image.programs().find(({ who }) => who === 1n);
    expect(child?.at).toBe(spawn?.args[2]);
    expect(child?.ops).toHaveLength(1);
  });

  test("of the same string are the same, and strings end with a NUL of their own", () => {
    const image = imageOf((asm, keeper) => {
      for (const path of ["/a", "/ab", "/a", "/ä€😀"]) asm.call(keeper, "chdir", [path]);
    });
    const [a, ab, again, wide] = image.header.keeper.ops.map(({ args }) => args[0]);
    expect(again).toBe(a);
    expect([a, ab, wide].map((at) => image.text(at))).toEqual(["/a", "/ab", "/ä€😀"]);
  });

  test("in clean-up programs lead to the resident part only", () => {
    const image = imageOf((asm, keeper, end) => {
      asm.call(keeper, "chdir", ["/same"]);
      asm.call(end, "chdir", ["/same"]);
      asm.call(end, "openat2", [0, "/other", asm.bytes(Buffer.alloc(24), true), 24]);
    });
    const { resident, end, keeper } = image.header;
    expect(end.at).toBeLessThan(BASE + resident);
    for (const at of [end.ops[0]?.args[0], end.ops[1]?.args[1], end.ops[1]?.args[2]])
      expect(at).toBeLessThan(BASE + resident);
    expect(keeper.ops[0]?.args[0]).toBeGreaterThanOrEqual(BASE + resident);
    expect(image.text(end.ops[0]?.args[0])).toBe("/same");
  });

  test("are aligned for the structs behind them", () => {
    const image = imageOf((asm, keeper) => {
      for (const text of ["x", "xy", "xyz"]) asm.call(keeper, "chdir", [text, asm.words([1])]);
    });
    for (const { args } of image.header.keeper.ops) expect((args[1] ?? 1n) % 8n).toBe(0n);
  });
});

test("poke changes what was placed, also when the segment has grown since", () => {
  const image = imageOf((asm, keeper) => {
    const words = asm.words([1, 2]);
    const filler = asm.bytes(Buffer.alloc(200_000, 7));
    asm.poke(words, 8, filler);
    asm.call(keeper, "chdir", [words]);
  });
  const at = image.header.keeper.ops[0]?.args[0] ?? 0n;
  expect(image.word(at)).toBe(1n);
  expect(image.bytes(image.word(at + 8n), 3)).toEqual(Buffer.alloc(3, 7));
});

test.each(["a\0b", "\0", "b\0"])("a string with a NUL byte is refused: %j", (text) => {
  expect(() => imageOf((asm, keeper) => asm.call(keeper, "chdir", [text]))).toThrow(/NUL byte.*\\u0000/);
  expect(() => imageOf((asm) => asm.stringArray(["ok", text]))).toThrow(/NUL byte/);
});

test("what has to be resident may not reach what is not", () => {
  expect(() => imageOf((asm) => asm.reserve(17 << 20, true))).toThrow(/too many bind mounts/);
});
