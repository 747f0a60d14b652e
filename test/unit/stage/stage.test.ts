import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { ATTACHED, BUSY, EXECUTED, KEEPER_VERSION } from "../../../src/stage/stage-abi.ts";
import { readableWithin } from "../../../src/sys/poll.ts";
import { connectedSocket, listeningSocket, receive } from "../../../src/sys/sockets.ts";
import { type SyscallName, syscallNumber } from "../../../src/sys/syscall-numbers.ts";
import { runnerOf } from "../../lib/emulator.ts";
import { stageOf } from "../../lib/launch.ts";
import { findTool, needsHere } from "../../lib/requires.ts";
import { FD, type Programs, type StageOptions, stage } from "../../lib/stage.ts";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
const ARCHS = ["x64", "arm64"] as const;
/** What is compiled of C: where in src/, and its pages at most. A stage stays with each machine. */
const PROGRAMS = [
  ["stage/stage", 2],
  ["tree-copier/tree-copier", 3],
  ["plain-client/exec-client", 1],
  ["plain-client/start-client", 2],
] as const;
const EACH = PROGRAMS.flatMap(([name, pages]) => ARCHS.map((arch) => [name, arch, pages] as const));
type Arch = (typeof ARCHS)[number];
const COMPILERS: Readonly<Record<Arch, string>> = { x64: "gcc", arm64: "aarch64-linux-gnu-gcc" };

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "stage-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

let count = 0;
/** A path that nothing is at. */
function temporary(name: string): string {
  return join(directory, `${name}-${count++}`);
}

/** An arm64 host may rightly lack what the other architecture needs; on x86-64 all of it is installed. */
function tool(ctx: TestContext, name: string): string {
  if (process.arch === "x64") needsHere(ctx, `tool:${name}`);
  return findTool(name) ?? ctx.skip(`needs tool:${name}: no ${name} in PATH`);
}

describe("the committed executables", () => {
  let built = "";
  let said = "";
  beforeAll(() => {
    built = temporary("built");
    mkdirSync(built);
    // Without the other architecture's compiler it fails after it has made the first one.
    said = spawnSync("sh", [".scripts/build-stage", built], { cwd: REPOSITORY, encoding: "utf8" }).stderr;
  });

  test.for(EACH)("are what their sources compile to: %s-%s", ([name, arch], ctx) => {
    const committed = readFileSync(join(REPOSITORY, "src/stage/compiler-version"), "utf8").trim();
    const version = execFileSync(tool(ctx, COMPILERS[arch]), ["-dumpfullversion"], { encoding: "utf8" }).trim();
    if (version !== committed) ctx.skip(`needs ${COMPILERS[arch]} ${committed}: this is ${version}`);
    const [fresh, kept] = [join(built, basename(name)), join(REPOSITORY, "src", name)].map((program) =>
      readFileSync(`${program}-${arch}`),
    );
    expect(fresh?.equals(kept ?? Buffer.alloc(0)), `sh .scripts/build-stage, and commit what it made\n${said}`).toBe(
      true,
    );
  });

  test.each(EACH)("are small: %s-%s", (name, arch, pages) => {
    expect(readFileSync(join(REPOSITORY, `src/${name}-${arch}`)).length).toBeLessThan(pages * 4096);
  });
});

/** From the kernel's own headers, so that no number of a table was mistyped, above all of the one nothing here runs. */
test.for(ARCHS)("system call numbers are the kernel's: %s", (arch, ctx) => {
  const compiler = tool(ctx, COMPILERS[arch]);
  const run = spawnSync(compiler, ["-E", "-dM", "-include", "asm/unistd.h", "-xc", "/dev/null"], { encoding: "utf8" });
  expect(run.status, run.stderr).toBe(0);
  const numbers = new Map(
    [...run.stdout.matchAll(/^#define __NR_(\w+) (\d+)$/gm)].map(([, name, n]) => [name, Number(n)]),
  );
  const source = readFileSync(join(REPOSITORY, "src/sys/syscall-numbers.ts"), "utf8");
  const names = [...source.matchAll(/^ {2}(\w+): \[\d+, \d+\],$/gm)].map(([, name]) => name as SyscallName);
  expect(names.length).toBeGreaterThan(40);
  // asm-generic names those that have a 32-bit form once, by a macro.
  const known = names.filter((name) => numbers.has(name));
  expect(known.length).toBeGreaterThan(names.length - 5);
  expect(Object.fromEntries(known.map((name) => [name, syscallNumber(name, arch)]))).toEqual(
    Object.fromEntries(known.map((name) => [name, numbers.get(name)])),
  );
});

test.for(EACH)("so are those that the programs have themselves: %s-%s", ([name, arch], ctx) => {
  const compiler = tool(ctx, COMPILERS[arch]);
  const kernels = spawnSync(compiler, ["-E", "-dM", "-include", "asm/unistd.h", "-xc", "/dev/null"], {
    encoding: "utf8",
  });
  expect(kernels.status, kernels.stderr).toBe(0);
  const source = join(REPOSITORY, `src/${name}.c`);
  const own = spawnSync(compiler, ["-E", "-P", source], { encoding: "utf8" }).stdout;
  const numbers = [...own.matchAll(/\bSYS_(\w+) = (\d+)\b/g)].map(([, name = "", n = ""]) => [name, n] as const);
  expect(numbers.length).toBeGreaterThan(10);
  const defined = new Map([...kernels.stdout.matchAll(/^#define __NR(3264)?_(\w+) (\d+)$/gm)].map((m) => [m[2], m[3]]));
  expect(numbers.filter(([name, n]) => (defined.get(name) ?? defined.get(`${name}64`)) !== n)).toEqual([]);
});

/**
 * How the stage runs a program, on both architectures: arm64 under qemu's user mode emulation, which knows no clone3,
 * so what spawns is in test/integration/stage.test.ts. No program here ends well: the last operation fails on purpose,
 * and the report of that tells that all before it were done.
 */
describe.each(ARCHS)("the stage for %s", (arch) => {
  const ENOENT = 2;
  const END = -77;

  async function run(ctx: TestContext, build: (p: Programs) => void, more: Partial<StageOptions> = {}) {
    const under = runnerOf(ctx, arch);
    using running = stage({ build, arch, under, ...more });
    const { status, signal, output } = await running.ended;
    return { status, signal, output, reports: running.reports() };
  }

  /** Runs `build` and then the failing end. */
  function runToEnd(ctx: TestContext, build: (p: Programs) => void, more?: Partial<StageOptions>) {
    const withEnd = (p: Programs): void => {
      build(p);
      p.asm.pseudo(p.keeper, "result", [END]);
    };
    return run(ctx, withEnd, more);
  }

  test("reports who failed, at which operation, with what result; and exits", async (ctx) => {
    const { status, reports } = await runToEnd(ctx, ({ asm, keeper }) => asm.call(keeper, "umask", [0o22]));
    expect(reports).toEqual([{ who: 0, index: 1, result: END }]);
    expect(status).toBe(1);
  });

  test.for([
    ["the lowest accepted", 5, [5, 9], true],
    ["the highest accepted", 9, [5, 9], true],
    ["one below", 4, [5, 9], false],
    ["one above", 10, [5, 9], false],
    ["an error where any value is accepted", -1, undefined, false],
    ["zero where any value is accepted", 0, undefined, true],
    ["a negative range", -3, [-4, -2], true],
    ["beyond 32 bits", 2 ** 40, [2 ** 40, 2 ** 40], true],
    ["beyond 32 bits, where its low half would do", 2 ** 40 + 7, [0, 100], false],
  ] as const)("accepts results: %s", async ([, value, accept, fine], ctx) => {
    const { reports } = await runToEnd(ctx, ({ asm, keeper }) =>
      asm.pseudo(keeper, "result", [value], accept === undefined ? {} : { accept }),
    );
    expect(reports).toEqual([fine ? { who: 0, index: 1, result: END } : { who: 0, index: 0, result: value }]);
  });

  test("tolerates one errno, and no other", async (ctx) => {
    const open = (path: string) => (p: Programs) =>
      p.asm.call(p.keeper, "openat", [-100, path, 0], { tolerate: ENOENT });
    expect((await runToEnd(ctx, open("/nowhere/at/all"))).reports).toEqual([{ who: 0, index: 1, result: END }]);
    expect((await runToEnd(ctx, open("/dev/null/x"))).reports).toEqual([{ who: 0, index: 0, result: -20 }]);
  });

  test("accepts everything of a lenient operation, and goes on", async (ctx) => {
    const { reports } = await runToEnd(ctx, ({ asm, keeper }) => asm.call(keeper, "close", [12345], { lenient: true }));
    expect(reports[0]?.index).toBe(1);
  });

  test("keeps results in registers and takes arguments from them", async (ctx) => {
    const file = temporary("registers");
    await runToEnd(ctx, ({ asm, keeper }) => {
      const [fd, length] = [asm.register(), asm.register()];
      asm.call(keeper, "openat", [-100, file, 0o101, 0o600], { into: fd });
      asm.pseudo(keeper, "result", [5], { into: length });
      asm.call(keeper, "write", [fd, "12345678", length], { accept: [5, 5] });
    });
    expect(readFileSync(file, "utf8")).toBe("12345");
  });

  test("stores and loads words and half words", async (ctx) => {
    const file = temporary("memory");
    const { reports } = await runToEnd(ctx, ({ asm, keeper }) => {
      const fd = asm.register();
      const place = asm.words([-1, -1]);
      const loaded = asm.register();
      asm.call(keeper, "openat", [-100, file, 0o101, 0o600], { into: fd });
      asm.pseudo(keeper, "store", [place, 2 ** 33 + 1, 8]);
      asm.pseudo(keeper, "store", [{ at: place.at + 8 }, 0x44434241, 4]);
      asm.pseudo(keeper, "load", [{ at: place.at + 12 }], { accept: [-1, -1], into: loaded });
      asm.call(keeper, "write", [fd, place, 16], { accept: [16, 16] });
    });
    expect(reports[0]?.result).toBe(END);
    expect(readFileSync(file).toString("hex")).toBe("010000000200000041424344ffffffff");
  });

  test("does what is guarded only if the register holds no error", async (ctx) => {
    const [made, skipped] = [temporary("made"), temporary("skipped")];
    const { reports } = await runToEnd(ctx, ({ asm, keeper }) => {
      const [never, good, bad] = [asm.register(), asm.register(), asm.register()];
      asm.pseudo(keeper, "result", [0], { into: good });
      asm.call(keeper, "openat", [-100, "/nowhere/at/all", 0], { into: bad, tolerate: ENOENT });
      for (const guard of [never, bad]) asm.call(keeper, "mkdirat", [-100, skipped, 0o700], { onlyIf: guard });
      asm.call(keeper, "mkdirat", [-100, made, 0o700], { onlyIf: good });
    });
    expect(reports).toEqual([{ who: 0, index: 5, result: END }]);
    expect([made, skipped].map((path) => existsSync(path))).toEqual([true, false]);
  });

  test("goes no further when the host has gone: end of file is no byte", async (ctx) => {
    const under = runnerOf(ctx, arch);
    const file = temporary("after-eof");
    const build = ({ asm, keeper, undo }: Programs): void => {
      const made = asm.register();
      asm.call(keeper, "mkdirat", [-100, file, 0o700], { into: made });
      asm.call(keeper, "read", [FD.status, asm.reserve(8), 8], { accept: [8, 8] });
      asm.call(keeper, "mkdirat", [-100, `${file}/never`, 0o700]);
      // It undoes even so, and is not killed by the report that nobody reads.
      asm.call(undo, "mkdirat", [-100, `${file}/undone`, 0o700], { onlyIf: made });
    };
    using running = stage({ build, arch, under });
    running.hangUp();
    const { status, signal } = await running.ended;
    expect([status, signal]).toEqual([1, null]);
    expect(readdirSync(file)).toEqual(["undone"]);
  });

  test("undoes after a failure, whatever of that fails, and neither commits nor ends", async (ctx) => {
    const place = temporary("undo");
    mkdirSync(place);
    const { status } = await runToEnd(ctx, ({ asm, undo, commit, end }) => {
      asm.call(undo, "close", [12345]);
      asm.call(undo, "mkdirat", [-100, `${place}/undone`, 0o700]);
      asm.call(commit, "mkdirat", [-100, `${place}/committed`, 0o700]);
      asm.call(end, "mkdirat", [-100, `${place}/ended`, 0o700]);
    });
    expect(status).toBe(1);
    expect(readdirSync(place)).toEqual(["undone"]);
  });

  test("when it is the keeper lets a new host in, one at a time, and only root", async (ctx) => {
    const path = temporary("keeper");
    const rendezvous = listeningSocket(path);
    const under = runnerOf(ctx, arch);
    using running = stage({
      arch,
      under,
      fds: { rendezvous },
      build: ({ asm, keeper, registers }) => {
        asm.call(keeper, "pidfd_open", [process.pid, 0], { into: registers.leader });
        asm.pseudo(keeper, "result", [process.pid], { into: registers.pid });
      },
    });
    await expect.poll(() => running.said()).toEqual([[EXECUTED, 0, 0]]);
    const ask = async () => {
      const fd = connectedSocket(path);
      expect(await readableWithin(fd, 10_000)).toBe(true);
      const message = receive(fd);
      for (const given of message?.fds ?? []) closeSync(given);
      return { fd, who: message?.data.readUInt32LE(0), version: message?.data.readUInt32LE(8), fds: message?.fds };
    };
    const early = await ask();
    expect(early).toMatchObject({ who: BUSY, fds: [] });
    running.hangUp();
    const next = await ask();
    if (process.getuid?.() === 0) expect(next).toMatchObject({ who: ATTACHED, version: KEEPER_VERSION });
    else expect(next).toMatchObject({ who: BUSY, fds: [] });
    const late = await ask();
    expect(late).toMatchObject({ who: BUSY, fds: [] });
    for (const { fd } of [early, next, late]) closeSync(fd);
    closeSync(rendezvous);
  });

  test.for([
    ["another format", (bytes: Buffer) => bytes.write("Vberth99")],
    ["a size that is not the file's", (bytes: Buffer) => bytes.writeBigUInt64LE(4096n, 8)],
  ] as const)("refuses an image of %s", async ([, spoil], ctx) => {
    const { status, reports } = await run(ctx, () => {}, { spoil: ([first]) => first && spoil(first.bytes) });
    expect(status).toBe(126);
    expect(reports).toEqual([]);
  });

  test("refuses to run without an image", async (ctx) => {
    const under = runnerOf(ctx, arch);
    const [program = "", ...words] = [...under, stageOf(arch)];
    expect(spawnSync(program, words, { stdio: "ignore" }).status).toBe(126);
    expect(spawnSync(program, words, { stdio: ["ignore", "ignore", "ignore", "ignore"] }).status).toBe(126);
  });
});
