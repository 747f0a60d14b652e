/** Resource limits of whoever calls berth that are counted by user: processes and pending signals. */
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readHostFacts } from "../../src/host/read-facts.ts";
import { capabilityNumber } from "../../src/spec/capabilities.ts";
import { BERTH, type BerthRoot, berthRoot, buildBerth, type End } from "../lib/berth.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { parseProbe, probe, probeTree } from "../lib/probe.ts";
import { needs } from "../lib/requires.ts";

const ready = needs("root", "userns", "cgroup2", "cc", "tool:bash", "tool:setpriv");
checkLeaks();

beforeAll(() => {
  if (ready) buildBerth();
});

/** A tree with the host's programs in /usr, for a shell that forks. */
async function shellTree(root: BerthRoot): Promise<string> {
  const tree = await probeTree({ at: join(root.machines, "m"), init: true });
  for (const name of ["bin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(tree, name));
  return tree;
}

const FORKS_AND_LIMITS = ["sh", "-c", "/probe exit 0 & wait $! && exec /probe limits"];

/** What `command` of a shell sets holds for berth. */
function limited(root: BerthRoot, command: string, words: readonly string[]): Promise<End> {
  return root.spawn(["bash", "-c", `${command}; exec "$@"`, "bash", BERTH, ...words]).end;
}

function run(tree: string): string[] {
  return ["run", "-q", "-D", tree, "-M", "m", "--pipe", "--bind-ro=/usr", "--", ...FORKS_AND_LIMITS];
}

/** What the kernel gives its own init, as far as this process may have it. */
function expected(name: "nproc" | "sigpending"): { soft: number; hard: number } {
  const { capabilities, hardLimits } = readHostFacts();
  const kernels = Math.floor(Number(readFileSync("/proc/sys/kernel/threads-max", "utf8")) / 2);
  const mayRaise = ((BigInt(`0x${capabilities}`) >> BigInt(capabilityNumber("CAP_SYS_RESOURCE") ?? 0)) & 1n) === 1n;
  const most = mayRaise ? kernels : Math.min(kernels, hardLimits[name] ?? kernels);
  return { soft: most, hard: most };
}

describe("a soft limit of the caller", () => {
  test.each([50, 0])("of %i processes and signals is not the machine's, nor that of what joins it", async (limit) => {
    await using root = berthRoot();
    const tree = await shellTree(root);
    const spoil = `ulimit -S -u ${limit}; ulimit -S -i ${limit}`;
    const { status, stdout, stderr } = await limited(root, spoil, run(tree));
    expect([status, stderr]).toEqual([0, ""]);
    for (const name of ["nproc", "sigpending"] as const)
      expect(parseProbe(stdout, "limits")[name], name).toEqual(expected(name));

    const words = ["run", "-q", "-D", tree, "-M", "m", "-b", "--console=read-only", "--bind-ro=/usr", "--", "--term"];
    await using machine = root.start(...words);
    await machine.until(/^up/m);
    await root.recordWhen("m");
    const joined = await limited(root, spoil, ["exec", "m", "--", ...FORKS_AND_LIMITS]);
    expect([joined.status, joined.stderr]).toEqual([0, ""]);
    for (const name of ["nproc", "sigpending"] as const)
      expect(parseProbe(joined.stdout, "limits")[name], name).toEqual(expected(name));
    machine.kill();
    await machine.end;
  });
});

describe("a hard limit of a caller who may not raise it", () => {
  const without = (root: BerthRoot, limit: number, words: readonly string[]): Promise<End> =>
    limited(root, `ulimit -u ${limit}; set -- setpriv --bounding-set -sys_resource "$@"`, words);

  test("is the machine's", async () => {
    await using root = berthRoot();
    const { status, stdout } = await without(root, 50, run(await shellTree(root)));
    expect(status).toBe(0);
    expect(parseProbe(stdout, "limits")["nproc"]).toEqual({ soft: 50, hard: 50 });
  });

  test("of no process is an error with a hint", async () => {
    await using root = berthRoot();
    const { status, stderr } = await without(root, 0, ["run", "-q", "-D", await probeTree(), "--", ...probe("cwd")]);
    expect(status).toBe(125);
    expect(stderr).toMatch(/^berth: starting .*: clone3: EAGAIN: .*\nhint: a limit on processes .* ulimit -u .*\n$/);
  });
});
