import { describe, expect, test } from "vitest";
import { type CompiledPlan, compile } from "../../../src/exec/compile.ts";
import { buildPlan } from "../../../src/plan/build.ts";
import type { PlanInput } from "../../../src/plan/input.ts";
import type { LaunchPlan } from "../../../src/plan/step.ts";
import { CLONE_VM } from "../../../src/sys/constants.ts";
import { syscallNumber } from "../../../src/sys/syscall-numbers.ts";
import { GOLDENS, goldenInput } from "../../golden/inputs.ts";
import { BASE, BECOME, DecodedImage, type DecodedOp, handedFds, SPAWN } from "./image.ts";

const FILTER = Buffer.from("200000000400000006000000000000000600000000ff7f00", "hex");

function compiled(plan: LaunchPlan, arch: "x64" | "arm64" = "x64"): CompiledPlan & { decoded: DecodedImage } {
  const result = compile(plan, arch, handedFds(plan), FILTER);
  return { ...result, decoded: new DecodedImage(result.image) };
}

const plans = GOLDENS.map((name): [string, LaunchPlan] => [name, buildPlan(goldenInput(name))]);
const everything = buildPlan(goldenInput("everything"));

describe("compiled for x86-64 and arm64", () => {
  /** O_DIRECTORY and O_NOFOLLOW, the only two flags that berth uses whose bits differ. */
  const FLAGS = [
    [0o200000n, 0o40000n],
    [0o400000n, 0o100000n],
  ] as const;

  function asArm(word: bigint): bigint {
    const cleared = FLAGS.reduce((bits, [x64]) => bits & ~x64, word);
    return FLAGS.reduce((bits, [x64, arm64]) => (word & x64 ? bits | arm64 : bits), cleared);
  }

  // A stub init has a filter of its own, of the architecture's numbers.
  const comparable = plans.filter(([, { steps }]) => !steps.some(({ kind }) => kind === "stay-as-init"));

  test.each(comparable)("%s differs in call numbers and two open flags alone", (_, plan) => {
    const [x64, arm64] = (["x64", "arm64"] as const).map((arch) => compiled(plan, arch));
    if (x64 === undefined || arm64 === undefined) throw new Error("not compiled");
    expect(arm64.image.size).toBe(x64.image.size);
    const numbers = new Set(x64.decoded.programs().flatMap(({ ops }) => ops.map(({ at }) => at)));
    x64.image.parts.forEach(({ offset, bytes }, part) => {
      const other = arm64.image.parts[part]?.bytes ?? Buffer.alloc(0);
      expect(other.length).toBe(bytes.length);
      for (let at = 0; at + 8 <= bytes.length; at += 8) {
        const [word, armWord] = [bytes.readBigInt64LE(at), other.readBigInt64LE(at)];
        if (word === armWord || numbers.has(BASE + BigInt(offset + at))) continue;
        expect(armWord, `word at ${offset + at}: 0o${word.toString(8)}`).toBe(asArm(word));
      }
    });
  });

  test.each(plans)("%s makes the same calls by name", (_, plan) => {
    const [x64, arm64] = (["x64", "arm64"] as const).map((arch) => compiled(plan, arch));
    expect(x64?.programs.map(({ ops }) => ops.map(({ name }) => name))).toEqual(
      arm64?.programs.map(({ ops }) => ops.map(({ name }) => name)),
    );
    for (const [arch, result] of [["x64", x64] as const, ["arm64", arm64] as const])
      for (const program of result?.decoded.programs() ?? []) {
        const source = result?.programs[Number(program.who)];
        expect(program.ops).toHaveLength(source?.ops.length ?? -1);
        program.ops.forEach(({ number }, index) => {
          const name = source?.ops[index]?.name;
          if (number >= 0n) expect(number).toBe(BigInt(syscallNumber(name as "read", arch)));
          else expect(["spawn", "store", "load", "result", "become", "stay", "match", "turn"]).toContain(name);
        });
      }
  });
});

describe("an image", () => {
  test.each(plans)("%s: every string and struct that the end needs is resident", (_, plan) => {
    const { decoded } = compiled(plan);
    const { end, resident } = decoded.header;
    expect(end.at).toBeLessThan(BASE + resident);
    for (const op of end.ops)
      for (let index = 0; index < 6; index++) {
        const value = decoded.plain(op, index);
        if (value !== undefined && decoded.isAddress(value)) expect(value).toBeLessThan(BASE + resident);
      }
  });

  test.each(plans)("%s: registers are within the register file, all of which is -1", (_, plan) => {
    const { decoded } = compiled(plan);
    const ops = decoded.programs().flatMap((program) => program.ops);
    const used = ops.flatMap((op) => [op.target, op.guard, ...registersOf(op)]).filter((number) => number >= 0);
    const last = Math.max(...used, ...decoded.header.numbers.map(Number));
    for (let index = 0; index <= last; index++)
      expect(decoded.word(decoded.header.registers + BigInt(index * 8)), `register ${index}`).toBe(-1n);
  });

  test.each(plans)("%s: a register is filled before it is used", (_, plan) => {
    const { decoded } = compiled(plan);
    const [pid = -1, , , , , self = -1] = decoded.header.numbers.map(Number);
    // In the order of events: who is cloned begins with what the keeper had filled by then. Messages carry init's pid
    // where it is known, else -1.
    const walk = (ops: readonly DecodedOp[], known: Set<number>): Set<number> => {
      for (const op of ops) {
        for (const register of [...registersOf(op), ...(op.guard >= 0 ? [op.guard] : [])])
          expect(known.has(register), `register ${register} of call ${op.number}`).toBe(true);
        // With CLONE_VM what the child fills is filled for its parent too.
        const shared = op.number === SPAWN && (decoded.word(op.args[0] ?? 0n) & BigInt(CLONE_VM)) !== 0n;
        if (op.number === SPAWN) walk(decoded.program(op.args[2] ?? 0n).ops, shared ? known : new Set(known));
        if (op.number === BECOME) walk(decoded.program(op.args[2] ?? 0n).ops, new Set([...known, self]));
        if (op.target >= 0) known.add(op.target);
      }
      return known;
    };
    const filled = walk(decoded.header.keeper.ops, new Set([pid]));
    for (const cleanUp of ["commit", "undo", "end"] as const) walk(decoded.header[cleanUp].ops, new Set(filled));
  });

  test.each(plans)("%s: what is undone depends on what was done", (_, plan) => {
    const { decoded } = compiled(plan);
    for (const { guard } of [...decoded.header.undo.ops, ...decoded.header.end.ops]) expect(guard).toBeGreaterThan(-1);
  });

  function registersOf(op: DecodedOp): number[] {
    return [0, 1, 2, 3, 4, 5].filter((k) => (op.registers >> k) & 1).map((k) => Number(op.args[k]));
  }

  test("names the fds that the keeper works with, -1 where there is none, and leaves the locks where they are", () => {
    const fds = handedFds(everything);
    const given = ["record", "directory", "log", "mirror", "name-lock", "notify-socket", "rendezvous"];
    const locks = everything.steps.filter(({ kind }) => ["lock-tree", "lock-use", "claim-range"].includes(kind));
    expect(locks.length).toBeGreaterThan(1);
    expect(fds.free).toBe(5 + locks.length);
    expect(compiled(everything).decoded.header.free).toBe(BigInt(fds.free));
    for (const fd of [fds.keeperEnd, fds.initEnd, ...fds.named.values()]) expect(fd).toBeGreaterThanOrEqual(fds.free);
    expect(compiled(everything).decoded.header.given).toEqual(given.map((name) => BigInt(fds.named.get(name) ?? -1)));
    expect(compiled(everything).decoded.header.given[3]).toBe(-1n);
  });

  test("ends in execve with the plan's arguments and environment, and closes everything else at exec", () => {
    const { decoded } = compiled(everything);
    const init = decoded.programs().find(({ who }) => who === 1n);
    const [close, execve] = init?.ops.slice(-2) ?? [];
    expect(close).toMatchObject({ number: BigInt(syscallNumber("close_range", "x64")) });
    expect(close?.args.slice(0, 3)).toEqual([3n, 0xffffffffn, 4n]);
    expect(execve?.number).toBe(BigInt(syscallNumber("execve", "x64")));
    expect(decoded.text(execve?.args[0])).toBe("/usr/lib/systemd/systemd");
    expect(decoded.texts(execve?.args[1])).toEqual(["/usr/lib/systemd/systemd", "systemd.unit=rescue.target", "quiet"]);
    expect(decoded.texts(execve?.args[2])).toEqual([
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "container=berth",
      "container_uuid=aaaaaaaa-bbbb-4ccc-8ddd-dddddddddddd",
      "NOTIFY_SOCKET=/run/host/notify",
      "container_host_id=debian",
      "container_host_version_id=13",
      "LANG=C.UTF-8",
      "GREETING=good day",
      "EMPTY=",
    ]);
  });

  test("goes on with the next candidate, whatever is wrong with one, up to the last", () => {
    const { decoded } = compiled(buildPlan(goldenInput("command")));
    const execve = decoded
      .programs()
      .flatMap(({ ops }) => ops)
      .filter(({ number }) => number === BigInt(syscallNumber("execve", "x64")));
    expect(execve.map(({ args }) => decoded.text(args[0]))).toEqual(
      ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map((path) => `${path}/sleep`),
    );
    expect(execve.map(({ low }) => low)).toEqual([-4095n, -4095n, -4095n, -4095n, -4095n, 0n]);
  });

  test("holds the seccomp filter as struct sock_fprog wants it", () => {
    const { decoded } = compiled(everything);
    const init = decoded.programs().find(({ who }) => who === 1n);
    const load = init?.ops.find(({ number }) => number === BigInt(syscallNumber("seccomp", "x64")));
    expect(load?.args.slice(0, 2)).toEqual([1n, 0n]);
    const program = load?.args[2] ?? 0n;
    expect(decoded.word(program)).toBe(BigInt(FILTER.length / 8));
    expect(decoded.bytes(decoded.word(program + 8n), FILTER.length)).toEqual(FILTER);
  });
});

describe("a step that is to fail", () => {
  const steps = everything.steps.map((step, index) => ({ step, index }));

  test.each(steps.filter(({ step }) => step.phase !== "host"))("#$index $step.phase $step.kind", ({ step, index }) => {
    const { programs } = compile(everything, "x64", handedFds(everything), FILTER, {
      fail: { step: index, result: -5 },
    });
    const ops = programs.flatMap((program) => program.ops).filter((op) => op.step === index);
    // What the step would do comes after it, so it is never reached.
    const [first] =
      programs[["keeper", "init", "apivfs"].indexOf(step.phase)]?.ops.filter((op) => op.step === index) ?? [];
    expect(first).toMatchObject({ name: "result", arguments: [-5] });
    expect(ops.filter(({ name, arguments: args }) => name === "result" && args[0] === -5)).toHaveLength(1);
  });
});

test("of a program that is handed over whole nobody takes another one", () => {
  const fds = handedFds(everything);
  const named = new Map([...fds.named].filter(([name]) => name !== "whole"));
  const turnsOf = ({ programs }: CompiledPlan): number =>
    programs.flatMap(({ ops }) => ops).filter(({ name }) => name === "turn").length;
  expect(turnsOf(compile(everything, "x64", fds, FILTER))).toBe(2);
  expect(turnsOf(compile(everything, "x64", { ...fds, named }, FILTER))).toBe(0);
});

test("a plan that says more than a stage can do is refused", () => {
  const step = { phase: "keeper", kind: "lock-name", args: { path: "/x" }, source: { from: "default" } } as const;
  const plan: LaunchPlan = { machine: "m", steps: [step] };
  expect(() => compile(plan, "x64", handedFds(plan), FILTER)).toThrow("step lock-name has no meaning in phase keeper");
});

test("a NUL byte in a plan's string is refused", () => {
  const steps = everything.steps.map((step) =>
    step.kind === "set-hostname" ? { ...step, args: { hostname: "a\0b" } } : step,
  );
  expect(() => compiled({ ...everything, steps })).toThrow(/NUL byte/);
});

/** Twice the binds may take twice the time, and some more for what the machine does besides; not the square of it. */
test("many binds compile in a time that grows with their number", () => {
  const planOf = (count: number): LaunchPlan => buildPlan(withBinds(goldenInput("default"), count));
  const [some, many] = [planOf(1000), planOf(2000)];
  compiled(some); // warm
  const time = (plan: LaunchPlan): number => {
    // Of this thread: other work on the machine does not count. The sum is exact, its two halves are guessed by ticks.
    const used = (): number => {
      const { user, system } = process.threadCpuUsage();
      return user + system;
    };
    const runs = [1, 2, 3].map(() => {
      const began = used();
      compile(plan, "x64", handedFds(plan), FILTER);
      return used() - began;
    });
    return Math.min(...runs);
  };
  expect(time(many)).toBeLessThan(6 * time(some));
  const { decoded } = compiled(many);
  expect(decoded.header.keeper.ops.length).toBeGreaterThan(2000 * 5);
});

function withBinds(input: PlanInput, count: number): PlanInput {
  const binds = Array.from({ length: count }, (_, index) => ({
    value: {
      source: `/srv/source-${index}`,
      fromRoot: false,
      target: `/mnt/deep/target-${index}`,
      readOnly: index % 2 === 0,
      recursive: true,
      idmap: "noidmap" as const,
    },
    source: { from: "option", option: "--bind" } as const,
  }));
  return { ...input, spec: { ...input.spec, binds } };
}
