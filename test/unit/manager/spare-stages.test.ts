import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { SpareStages } from "../../../src/manager/spare-stages.ts";
import { ARCH } from "../../../src/sys/libc.ts";
import { stageOf } from "../../lib/launch.ts";
import { needsHere } from "../../lib/requires.ts";

function openFds(): readonly string[] {
  return readdirSync("/proc/self/fd");
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("who takes one has it, also before it is there; nobody else gets it", async () => {
  const spares = new SpareStages(stageOf(ARCH));
  spares.refill();
  await new Promise(setImmediate);
  const [one, two] = await Promise.all([spares.take(), spares.take()]);
  expect(one.pid).not.toBe(two.pid);
  await Promise.all([one.discard(), two.discard()]);
  await spares.close();
});

test("one waits, more are not kept, and none is left when it ends", async () => {
  const first = await new SpareStages(stageOf(ARCH)).take(); // what is opened once for all is open then
  await first.discard();
  const before = openFds();
  const spares = new SpareStages(stageOf(ARCH));
  const [one, two] = [spares.take(), spares.take()];
  const pids = [(await one).pid, (await two).pid];
  spares.giveBack(one);
  spares.giveBack(two);
  await expect.poll(() => pids.filter(isThere).length).toBe(1);
  expect(pids).toContain((await spares.take()).pid);
  spares.giveBack(one);
  spares.refill();
  await spares.close();
  await expect.poll(() => pids.filter(isThere)).toEqual([]);
  expect(openFds()).toEqual(before);
});

test("one that is on its way when it ends, ends", async () => {
  const spares = new SpareStages(stageOf(ARCH));
  spares.refill();
  await new Promise(setImmediate);
  await spares.close();
  await spares.close();
  spares.refill();
  await new Promise(setImmediate);
});

test("where there can be none, who takes it hears so when it is needed, and the next one is tried again", async () => {
  const spares = new SpareStages("/nonexistent/stage");
  spares.refill();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const taken = spares.take();
  await new Promise((resolve) => setTimeout(resolve, 20)); // nobody waits for it yet: that is no unhandled rejection
  await expect(taken).rejects.toThrow("/nonexistent/stage");
  spares.giveBack(taken);
  await spares.close();
});

test("what is expected of the next one it makes while it waits", async (ctx) => {
  needsHere(ctx, "root", "userns");
  const spares = new SpareStages(stageOf(ARCH));
  const ahead = { namespaces: ["user" as const], limits: [] };
  spares.expect(ahead);
  const stage = await spares.take();
  expect(stage.ahead).toBe(ahead);
  expect(await stage.holder()).toBeGreaterThan(0);
  await stage.discard();
  spares.expect({ namespaces: [], limits: [] });
  const plain = await spares.take();
  expect(plain.ahead).toBeUndefined();
  await plain.discard();
  await spares.close();
});
