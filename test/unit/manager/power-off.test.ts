/** Asking a machine to power off, and what becomes of it when it does not. */
import { expect, test } from "vitest";
import { type Poweroff, powerOffWithin } from "../../../src/manager/power-off.ts";

const never = new Promise<void>(() => undefined);

function machine(parts: Partial<Poweroff>): Poweroff & { killed: number } {
  const made = {
    name: "m",
    killed: 0,
    ask: async () => undefined,
    ended: () => never,
    kill: async () => {
      made.killed++;
    },
    ...parts,
  };
  return made;
}

test("one that ends in time is not killed", async () => {
  const ends = machine({ ended: async () => undefined });
  await powerOffWithin(1000, ends);
  expect(ends.killed).toBe(0);
});

test("one that can't be asked is not killed: that is the failure", async () => {
  const deaf = machine({ ask: () => Promise.reject(new Error("can't be asked")) });
  await expect(powerOffWithin(1000, deaf)).rejects.toThrow("can't be asked");
  expect(deaf.killed).toBe(0);
});

test.each(["ask", "ended"])("one whose %s takes too long is killed, which is a failure", async (what) => {
  const over = Promise.withResolvers<void>();
  const slow = machine({
    [what]: () => over.promise,
    kill: async () => {
      slow.killed++;
      // What asked it dies with it.
      over.reject(new Error("killed"));
    },
  });
  await expect(powerOffWithin(20, slow)).rejects.toMatchObject({
    kind: "Timeout",
    message: "machine m did not end within 0.02 s, and was killed",
  });
  expect(slow.killed).toBe(1);
});
