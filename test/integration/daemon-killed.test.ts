/** kill -9 of berthd at every step of a start, and at random moments of what it is told to do. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import type { MachineView } from "../../src/manager/machine-view.ts";
import { type BerthRoot, berthRoot, buildBerth, poll } from "../lib/berth.ts";
import { bundled } from "../lib/bundled.ts";
import { berthd, connect, killDaemon } from "../lib/daemon.ts";
import { checkLeaks } from "../lib/leaks.ts";
import { generator } from "../lib/random.ts";
import { needs } from "../lib/requires.ts";
import { ENDLESS, shellMachine } from "../lib/shell-machine.ts";

const ready = needs("root", "userns", "cgroup2", "cc");
checkLeaks();
beforeAll(() => {
  if (ready) buildBerth();
});

const MINUTES = 60_000;

async function list(root: BerthRoot): Promise<readonly MachineView[]> {
  await using wire = await connect(root);
  const answer = await wire.call("list", { all: false });
  if (answer === undefined || "error" in answer) throw new Error(`list: ${JSON.stringify(answer)}`);
  return answer.result as readonly MachineView[];
}

async function hostSteps(root: BerthRoot): Promise<number> {
  const { stdout } = await root.berth("plan", "m", "--json");
  const plan = JSON.parse(stdout) as { readonly steps: readonly { readonly phase: string; readonly kind: string }[] };
  return plan.steps.filter(({ phase }) => phase === "host").length;
}

test.each([
  ["a plain machine", ""],
  ["an ephemeral one", "[Exec]\nEphemeral=yes"],
])(
  "before every step of the start of %s: the next daemon has nothing of it left, and the name is free",
  {
    timeout: 5 * MINUTES,
  },
  async (_, settings) => {
    await using root = berthRoot();
    const tree = await shellMachine(root, "m", ENDLESS, settings);
    const steps = await hostSteps(root);
    expect(steps).toBeGreaterThan(15);
    for (let step = 0; ; step++) {
      await using daemon = await berthd(root, {
        program: [process.execPath, bundled("berthd-killed-at"), String(step)],
      });
      // Of the start that was cut before the last step.
      expect(await list(root), `${step}`).toEqual([]);
      expect(root.leftovers(), `${step}`).toEqual([]);
      await using wire = await connect(root);
      const answer = await wire.call("start", { name: "m", timeout: 20_000 });
      if (answer !== undefined) {
        expect(answer).toMatchObject({ result: null });
        // The plan is of the foreground: in the background there is a step more. And once when the machine runs.
        expect(step).toBe(steps + 2);
        break;
      }
      expect((await daemon.end).signal).toBe("SIGKILL");
    }
    expect((await root.berth("exec", "m", "--", "echo", "on")).stdout).toBe("on\n");
    expect((await root.berth("poweroff", "m")).status).toBe(0);
    expect((await root.berth("daemon", "stop")).status).toBe(0);
    expect(existsSync(join(tree, "mark"))).toBe(false);
    expect(root.leftovers()).toEqual([]);
  },
);

const NAMES = ["m", "n", "o"];
type Request = readonly [method: string, params: object];

function requestOf(below: (bound: number) => number): Request {
  const name = NAMES[below(NAMES.length)];
  const exec = { name, environment: [], user: null, directory: null, stdio: "own" };
  const requests: readonly Request[] = [
    ["start", { name, timeout: 20_000 }],
    ["start", { name, timeout: 20_000 }],
    ["start", { name, timeout: 1 + below(60) }],
    ["terminate", { name }],
    ["powerOff", { name, wait: true, timeout: 20_000 }],
    ["powerOff", { name, wait: false, timeout: 20_000 }],
    ["pause", { name }],
    ["resume", { name }],
    ["kill", { name, whom: "all", signal: 9 }],
    ["exec", { ...exec, argv: ["/probe", "reboot", "restart"] }],
    ["exec", { ...exec, argv: ["/probe", "reboot", "poweroff"] }],
    ["exec", { ...exec, argv: ["sh", "-c", "echo >>/mark"] }],
    ["exec", { ...exec, argv: ["sleep", "10"] }],
  ];
  return requests[below(requests.length)] as Request;
}

/** Each machine runs and answers, or is gone; none is half there. */
async function expectWhole(root: BerthRoot, context: string): Promise<void> {
  await poll(`settled: ${context}`, () => (existsSync(join(root.path, "run/berthd.sock")) ? true : undefined));
  for (const deadline = performance.now() + 20_000; ; await sleep(20)) {
    const views = await list(root);
    if (views.every(({ state }) => ["running", "paused", "failed", "stopping"].includes(state))) break;
    if (performance.now() > deadline) throw new Error(`${context}: ${JSON.stringify(views)}`);
  }
  for (const { name, state } of await list(root)) {
    expect(["running", "paused", "failed", "stopping"], context).toContain(state);
    if (state !== "running") continue;
    const { status, stdout, stderr } = await root.berth("exec", name, "--", "echo", "on");
    // It may have been told to end.
    if (status === 0) expect(stdout).toBe("on\n");
    else expect(stderr, context).toMatch(/no machine "\w" is running|has ended|is between two boots|was killed|ended/);
  }
}

async function killAtRandom(root: BerthRoot, rounds: number, seed: number): Promise<void> {
  const below = generator(seed);
  for (let round = 0; round < rounds; round++) {
    const said: Request[] = [];
    await using daemon = await berthd(root);
    await expectWhole(root, `seed ${seed}, round ${round}`);
    await using wire = await connect(root);
    for (let count = 1 + below(4); count > 0; count--) {
      const request = requestOf(below);
      said.push(request);
      wire.ask(...request);
      await sleep(below(30));
    }
    await sleep(below(80));
    await killDaemon(root);
    expect((await daemon.end).signal, JSON.stringify(said)).toBe("SIGKILL");
    expect(daemon.stderr, JSON.stringify(said)).not.toMatch(
      /internal error|could not be taken over|supervising it failed/,
    );
  }
  await using daemon = await berthd(root);
  await expectWhole(root, `seed ${seed}, the end`);
  await Promise.all(
    NAMES.map(async (name) => {
      await root.berth("terminate", name);
      expect(await root.berth("start", name), name).toMatchObject({ status: 0 });
      expect(await root.berth("terminate", name), name).toMatchObject({ status: 0 });
    }),
  );
  expect(root.leftovers()).toEqual([]);
  daemon.kill();
  expect((await daemon.end).status).toBe(0);
}

const LONG = process.env["BERTH_LONG"] === "1";

test.each([1, 2])(
  "at random moments (seed %i): machines are whole or gone, and all names are free in the end",
  {
    timeout: (LONG ? 30 : 5) * MINUTES,
  },
  async (seed) => {
    await using root = berthRoot();
    for (const name of NAMES) await shellMachine(root, name, ENDLESS, name === "o" ? "[Exec]\nEphemeral=yes" : "");
    await killAtRandom(root, LONG ? 200 : 25, seed);
  },
);
